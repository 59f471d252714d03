"""placeholder"""
from antiphon.codec.prompt import REFERENCE as FAITHFUL
__all__ = ["FAITHFUL"]
