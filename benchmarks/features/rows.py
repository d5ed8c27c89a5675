"""Rows of the comparison table: the label of each feature, and a pattern of names, by group.

The public names and arguments of libraries without a probe of the feature are searched for the pattern. It is "" if
every library has a probe.
"""

ROWS: dict[str, dict[str, tuple[str, str]]] = {
    "Cells": {
        "elman": ("Elman, tanh", r"elman|simple|vanilla|rnn"),
        "elman_relu": ("Elman, relu", r"elman|simple|vanilla|rnn"),
        "gru_before": ("GRU, reset before the product", ""),
        "gru_after": ("GRU, reset after the product (cuDNN's)", ""),
        "mgu": ("MGU (Zhou 2016)", r"mgu|minimal"),
        "lstm": ("LSTM", ""),
        "projection": ("LSTM with projection", r"(lstm|rnn)\w*\.\w*proj|proj\w*lstm"),
        "coupled": ("LSTM with coupled gates", r"coupl|cifg"),
        "peephole": ("LSTM with peepholes", r"peep"),
        "norm_lstm": ("LSTM with layer norm", r"norm\w*(lstm|rnn)|(lstm|rnn)\w*\.?\w*norm"),
        "norm_gru": ("GRU with layer norm", r"norm\w*(gru|rnn)|(gru|rnn)\w*\.?\w*norm"),
        "conv_lstm": ("ConvLSTM, 1-D and 2-D", r"conv\w*lstm"),
        "min": ("minGRU, minLSTM", r"min_?gru|min_?lstm"),
        "lru": ("LRU", r"lru\b|linear_?recurrent"),
    },
    "Ragged batches": {
        "own_end": ("carry at the end of each row", r"lengths|mask"),
        "empty_row": ("rows of length 0", r"lengths|mask"),
        "reverse": ("reversed from the end of each row", r"lengths|mask"),
        "both": ("bidirectional", r"lengths|mask"),
        "zeros": ("outputs are 0 in the padding", r"lengths|mask"),
        "nan": ("NaN in the padding has no effect", r"lengths|mask"),
    },
    "Carries": {
        "carry": ("carry in and out of a sequence", ""),
        "step": ("one step (streaming)", ""),
        "resets": ("resets inside a sequence (episodes)", r"\breset(?!_after|_gate|_param)|episode"),
        "learned": ("learned initial carry", r"(learn|train)\w*(carry|initial|hidden)"),
    },
    "Layers": {
        "zoneout": ("zoneout", r"zoneout"),
        "variational": ("recurrent dropout, one mask for all steps", r"recurrent_?dropout|variational"),
        "residual": ("residual connection, y + x", r"residual"),
        "stacked": ("stacked layers with their carries", r"stacked|deep|num_layers"),
        "between": ("dropout between layers", r"stacked|deep|num_layers"),
        "skip": ("skip connections (Graves 2013)", r"skip_connection"),
        "merge": ("merging of bidirectional outputs", r"bidirectional"),
    },
    "Use": {
        "time_major": ("time-major option", r"time_?major|batch_first"),
        "batch_axes": ("several batch axes (LSTM)", ""),
        "ensemble": ("vmap over the parameters", ""),
        "forward_mode": ("forward-mode derivative", ""),
        "second": ("second derivative", ""),
        "half": ("bfloat16 products, float32 carry (LSTM)", ""),
        "memory": ("MB for the gradient of an LSTM (T 2048, B 4, H 64)", ""),
        "least": ("the same, with recomputation", ""),
        "convert": ("weights converted from and to", r"(from|to|load|import|convert)_\w*(torch|keras|haiku|flax)"),
        "cudnn": ("calls cuDNN on a GPU (from its source code)", ""),
    },
}
