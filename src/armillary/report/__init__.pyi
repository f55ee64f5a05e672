from .drawing import svg as svg
from .html import render_html as render_html
from .terminal import render_terminal as render_terminal
