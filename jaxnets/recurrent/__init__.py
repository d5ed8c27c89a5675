"""Recurrent networks: cells as tuples of pure functions, one ``scan`` for every cell, and Linen modules."""

from jaxnets.recurrent.cell import Cell, LinearStep, matmul
from jaxnets.recurrent.cells.conv_lstm import conv_lstm
from jaxnets.recurrent.cells.elman import elman
from jaxnets.recurrent.cells.gru import gru, mgu
from jaxnets.recurrent.cells.layer_norm import layer_norm_gru, layer_norm_lstm
from jaxnets.recurrent.cells.linear import lru, min_gru, min_lstm
from jaxnets.recurrent.cells.lstm import lstm, peephole_lstm
from jaxnets.recurrent.cells.wrappers import (
    learned_carry,
    recurrent_dropout,
    recurrent_dropout_masks,
    residual,
    wrap,
    zoneout,
    zoneout_masks,
)
from jaxnets.recurrent.executors.associative import Associative
from jaxnets.recurrent.executors.autodiff import Autodiff
from jaxnets.recurrent.executors.cudnn import CuDNN
from jaxnets.recurrent.executors.method import Method
from jaxnets.recurrent.executors.newton import Newton
from jaxnets.recurrent.executors.sequential import Sequential
from jaxnets.recurrent.experimental.persistent import Persistent
from jaxnets.recurrent.layers.pooling import attention_pool, pool
from jaxnets.recurrent.layers.rnn import RNN, BidirectionalRNN, StackedRNN
from jaxnets.recurrent.layers.stacked import bidirectional, stacked
from jaxnets.recurrent.methods import choose_method
from jaxnets.recurrent.models.char_rnn import CharRNN
from jaxnets.recurrent.models.encoder_decoder import Encoded, EncoderDecoder
from jaxnets.recurrent.models.sequence_model import SequenceModel
from jaxnets.recurrent.newton_solution import newton_solution
from jaxnets.recurrent.over_devices import scan_over_devices
from jaxnets.recurrent.scan import scan, step

__all__ = [
    "RNN",
    "Associative",
    "Autodiff",
    "BidirectionalRNN",
    "Cell",
    "CharRNN",
    "CuDNN",
    "Encoded",
    "EncoderDecoder",
    "LinearStep",
    "Method",
    "Newton",
    "Persistent",
    "SequenceModel",
    "Sequential",
    "StackedRNN",
    "attention_pool",
    "bidirectional",
    "choose_method",
    "conv_lstm",
    "elman",
    "gru",
    "layer_norm_gru",
    "layer_norm_lstm",
    "learned_carry",
    "lru",
    "lstm",
    "matmul",
    "mgu",
    "min_gru",
    "min_lstm",
    "newton_solution",
    "peephole_lstm",
    "pool",
    "recurrent_dropout",
    "recurrent_dropout_masks",
    "residual",
    "scan",
    "scan_over_devices",
    "stacked",
    "step",
    "wrap",
    "zoneout",
    "zoneout_masks",
]
