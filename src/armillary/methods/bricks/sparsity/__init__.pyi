from .calibration import Levels as Levels, SparsityCalibration as SparsityCalibration, calibrate as calibrate
from .config import Allocation as Allocation, CalibrationConfig as CalibrationConfig
from .inputs import MatrixInput as MatrixInput, matrix_inputs as matrix_inputs
from .magnitudes import Magnitudes as Magnitudes
from .reading import TokenBytes as TokenBytes, token_bytes as token_bytes
from .sparse_model import Sparsified as Sparsified, sparsified as sparsified
