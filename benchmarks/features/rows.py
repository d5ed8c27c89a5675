"""Rows of the table: for each group, a feature's key, its label and a pattern of names.

A library without a probe of the feature is searched for public names and arguments that match the pattern. The pattern
is empty where every library has a probe.
"""

ROWS: dict[str, dict[str, tuple[str, str]]] = {
    "Cells": {
        "elman": ("Elman, tanh", r"elman|simple|vanilla|rnn"),
        "elman_relu": ("Elman, relu", r"elman|simple|vanilla|rnn"),
        "gru_before": ("GRU, reset before the product", ""),
        "gru_after": ("GRU, reset after the product (as in cuDNN)", ""),
        "mgu": ("MGU (Zhou 2016)", r"mgu|minimal"),
        "lstm": ("LSTM", ""),
        "projection": ("LSTM with projection", r"(lstm|rnn)\w*\.\w*proj|proj\w*lstm"),
        "coupled": ("LSTM with coupled gates", r"coupl|cifg"),
        "peephole": ("LSTM with peepholes", r"peep"),
        "norm_lstm": ("LSTM with layer norm", r"norm\w*(lstm|rnn)|(lstm|rnn)\w*\.?\w*norm"),
        "norm_gru": ("GRU with layer norm", r"norm\w*(gru|rnn)|(gru|rnn)\w*\.?\w*norm"),
        "conv_lstm": ("ConvLSTM, 1-D and 2-D", r"conv\w*lstm"),
        "min_rnn": ("minGRU, minLSTM", r"min_?gru|min_?lstm"),
        "lru": ("LRU", r"lru\b|linear_?recurrent"),
    },
    "Ragged batches": {
        "last_carry": ("carry from each row's last valid step", r"lengths|mask"),
        "empty_row": ("rows of length 0", r"lengths|mask"),
        "reverse": ("reverse within each row's length", r"lengths|mask"),
        "bidirectional": ("bidirectional", r"lengths|mask"),
        "zeros": ("zero outputs in the padding", r"lengths|mask"),
        "nan": ("NaN in the padding has no effect", r"lengths|mask"),
    },
    "Carries": {
        "carry": ("initial and final carry of a sequence", ""),
        "step": ("single step (streaming)", ""),
        "resets": ("resets within a sequence (episodes)", r"\breset(?!_after|_gate|_param)|episode"),
        "learned_carry": ("learned initial carry", r"(learn|train)\w*(carry|initial|hidden)"),
    },
    "Wrappers of cells": {
        "zoneout": ("zoneout", r"zoneout"),
        "recurrent_dropout": ("recurrent dropout, one mask for all steps", r"recurrent_?dropout|variational"),
        "residual": ("residual connection, y + x", r"residual"),
        "stacked": ("stacked layers with carries", r"stacked|deep|num_layers"),
        "layer_dropout": ("dropout between layers", r"stacked|deep|num_layers"),
        "skip": ("skip connections (Graves 2013)", r"skip_connection"),
        "merge": ("bidirectional merge modes", r"bidirectional"),
    },
    "Use": {
        "time_major": ("time-major option", r"time_?major|batch_first"),
        "batch_axes": ("several batch axes (LSTM)", ""),
        "ensemble": ("vmap over the parameters", ""),
        "forward_mode": ("forward-mode derivative", ""),
        "second_derivative": ("second derivative", ""),
        "bfloat16": ("bfloat16 products, float32 carry (LSTM)", ""),
        "memory": ("memory of the LSTM gradient in MB (T 2048, B 4, H 64)", ""),
        "saved_memory": ("the same with an option to save memory", ""),
        "convert": ("weight conversion from and to", r"(from|to|load|import|convert)_\w*(torch|keras|haiku|flax)"),
        "cudnn": ("cuDNN on a GPU (found in the source)", ""),
    },
}
