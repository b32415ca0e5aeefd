"""For mkdocstrings: a section ``Example:`` of a docstring is what Google's style calls ``Examples:``."""
import re

from griffe import Extension


class Examples(Extension):

    def on_object(self, *, obj, **kwargs):
        if obj.docstring:
            obj.docstring.value = re.sub(r'^Example:$', 'Examples:', obj.docstring.value, flags=re.M)
