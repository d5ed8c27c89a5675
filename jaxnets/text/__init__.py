"""Text: models of classification, tagging and word vectors, and the functions that they consist of."""

from jaxnets.text.characters import CharacterEncoder
from jaxnets.text.classification.attention import AttentionTextClassifier
from jaxnets.text.classification.ngram_classifier import NgramClassifier
from jaxnets.text.classification.ngrams import ngram_buckets
from jaxnets.text.classification.recurrent import RecurrentTextClassifier
from jaxnets.text.classification.text_classifier import TextClassifier
from jaxnets.text.classification.text_cnn import TextCNN
from jaxnets.text.crf import constrained, crf_log_likelihood, crf_log_partition, crf_marginals, crf_score, crf_viterbi
from jaxnets.text.huffman import HuffmanTree, huffman_tree
from jaxnets.text.similarity import cosine_similarity, nearest, solve_analogies, spearman_correlation
from jaxnets.text.subwords import character_ngrams, subword_hash, subword_rows
from jaxnets.text.tagger import Tagger, TagScores, lample_tagger, ma_hovy_tagger
from jaxnets.text.word_models import WordVectorModel
from jaxnets.text.word_questions import AnalogyResult, SimilarityResult, evaluate_analogies, evaluate_similarities
from jaxnets.text.word_sampling import AliasTable, keep_probabilities, noise_distribution
from jaxnets.text.word_vectors import (
    context_pairs,
    glove_loss,
    glove_weights,
    hierarchical_softmax_loss,
    negative_sampling_loss,
    negative_weights,
    window_mean,
)

__all__ = [
    "AliasTable",
    "AnalogyResult",
    "AttentionTextClassifier",
    "CharacterEncoder",
    "HuffmanTree",
    "NgramClassifier",
    "RecurrentTextClassifier",
    "SimilarityResult",
    "TagScores",
    "Tagger",
    "TextCNN",
    "TextClassifier",
    "WordVectorModel",
    "character_ngrams",
    "constrained",
    "context_pairs",
    "cosine_similarity",
    "crf_log_likelihood",
    "crf_log_partition",
    "crf_marginals",
    "crf_score",
    "crf_viterbi",
    "evaluate_analogies",
    "evaluate_similarities",
    "glove_loss",
    "glove_weights",
    "hierarchical_softmax_loss",
    "huffman_tree",
    "keep_probabilities",
    "lample_tagger",
    "ma_hovy_tagger",
    "nearest",
    "negative_sampling_loss",
    "negative_weights",
    "ngram_buckets",
    "noise_distribution",
    "solve_analogies",
    "spearman_correlation",
    "subword_hash",
    "subword_rows",
    "window_mean",
]
