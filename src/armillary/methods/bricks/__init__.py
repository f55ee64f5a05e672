"""Bricks: the functional parts of a language model, found inside it or added to it; route, merge, update, grow them.

"Configurable Foundation Models: Building LLMs from a Modular Perspective", Xiao and others, 2024, arXiv 2409.02877.
Under construction: the parts are here and tested, the command, the page and the judged claims are not yet.
"""
