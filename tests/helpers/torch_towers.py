"""timm's vision transformer, importable beside a CPU build of PyTorch.

timm imports torchvision for models and data that are not used here. Where there is none, an empty
one stands in while timm is imported; where there is one built for another PyTorch (a CPU wheel
beside the index's torchvision), the shapes of its absent operators are not registered.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from types import ModuleType

import torch

_register_fake = torch.library.register_fake


def _register_what_exists(operator, *args, **kwargs):
    if isinstance(operator, str) and operator.startswith("torchvision::"):
        return lambda function: function
    return _register_fake(operator, *args, **kwargs)


class _AnyMember(type):
    """Classes that have whatever constant is asked of them."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return name


class _EmptyTorchvision(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds every module of torchvision, with whatever class is asked of it."""

    def find_spec(self, fullname, path, target=None):
        if fullname.partition(".")[0] != "torchvision":
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec):
        module = ModuleType(spec.name)
        module.__getattr__ = lambda name: _AnyMember(name, (torch.nn.Module,), {})
        return module

    def exec_module(self, module):
        pass


if importlib.util.find_spec("torchvision"):
    torch.library.register_fake = _register_what_exists
    from timm.models.vision_transformer import VisionTransformer
else:
    stand_in = _EmptyTorchvision()
    sys.meta_path.insert(0, stand_in)
    try:
        from timm.models.vision_transformer import VisionTransformer
    finally:
        sys.meta_path.remove(stand_in)
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]

__all__ = ["VisionTransformer"]
