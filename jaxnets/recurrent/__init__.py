"""Recurrent networks: cells as tuples of pure functions, one ``scan`` for all of them, and Linen modules on top."""

from jaxnets.recurrent.cell import Cell, matmul, step
from jaxnets.recurrent.char_rnn import CharRNN
from jaxnets.recurrent.elman import elman
from jaxnets.recurrent.gru import gru
from jaxnets.recurrent.lstm import lstm
from jaxnets.recurrent.rnn import RNN
from jaxnets.recurrent.scan import scan

__all__ = ["RNN", "Cell", "CharRNN", "elman", "gru", "lstm", "matmul", "scan", "step"]
