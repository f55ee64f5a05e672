from .growing import grow_layers as grow_layers, grow_neurons as grow_neurons, split_neurons as split_neurons
from .grown import Grown as Grown, Preservation as Preservation, model_copy as model_copy, preservation as preservation
from .mixture import (
    Mixture as Mixture,
    mixtures as mixtures,
    open_experts as open_experts,
    router_losses as router_losses,
    through_expert as through_expert,
)
from .partial_training import (
    TrainingParts as TrainingParts,
    adapter_training as adapter_training,
    neuron_training as neuron_training,
    train_on_texts as train_on_texts,
    train_only_new as train_only_new,
)
from .upcycling import (
    add_expert as add_expert,
    split_into_experts as split_into_experts,
    to_mixtral as to_mixtral,
    upcycle as upcycle,
)
