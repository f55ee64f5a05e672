from .html import render_html as render_html
from .svg import svg as svg
from .terminal import render_terminal as render_terminal
