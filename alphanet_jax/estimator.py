"""The one call as an estimator of scikit-learn, to be used as its own are.

Notation: n samples, d feature dimensions, C classes, k neighbors.
"""

import dataclasses
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from alphanet_jax import correction, splits
from alphanet_jax.correction import Correction
from alphanet_jax.data.in_memory import as_numpy
from alphanet_jax.errors import UserError
from alphanet_jax.results.corrected import Head, Which

__all__ = ["AlphaNetClassifier"]

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator, ClassifierMixin
else:
    try:
        from sklearn.base import BaseEstimator, ClassifierMixin
    except ImportError:
        # The module can be imported, as all others can; the estimator not be made.
        class BaseEstimator:
            """Stands where scikit-learn is not."""

            def __new__(cls, *args, **arguments):
                """Raises `UserError`: scikit-learn is missing."""
                raise UserError(
                    "AlphaNetClassifier needs scikit-learn: pip install "
                    "'alphanet_jax[sklearn]'"
                )

        class ClassifierMixin:
            """Stands where scikit-learn is not."""


# With fewer neighbors there is nothing to learn: the size of one coefficient is 1.
_LEAST_NEIGHBORS = 2


class AlphaNetClassifier(ClassifierMixin, BaseEstimator):
    """A linear classifier whose rare classes are corrected by AlphaNet.

    It corrects the classifier that `fit` is given, or else one that it fits first.
    Where there is nothing to correct it is that classifier, unchanged, and `fit` warns.

    Args:
      estimator: What to fit first where `fit` is given no weights: any classifier of
        scikit-learn with `coef_` and `intercept_`; None for multinomial logistic
        regression.
      few_below: Classes with fewer training samples are 'few', and corrected: a number,
        or a quantile of the counts such as '25%'.
      many_above: Classes with more are 'many', in reports.
      rho: Base samples of an epoch for each few sample: the smaller, the more the few
        classes gain and the others lose.
      seeds: How many runs to train.
      seed: Which run's classifier to take, as `Correction.head` has it: 'best' on
        validation data (without these the mean), 'mean', or a number from 0.
      n_neighbors: Neighbors of each few class, as many as there are base classes for:
        it is less than their number.
      train_epochs: Epochs to train.
      method: How to correct, one of `alphanet_jax.correction.METHODS`.
      settings: Further fields of `alphanet_jax.Settings` by name, or None.
      random_state: An integer or a `RandomState` to draw the first seed from; with
        None it is 0, so that equal data give equal classifiers.

    Attributes:
      classes_: Labels, sorted; their places are class ids.
      coef_: Weights, with shape `[C, d]`, or `[1, d]` for two classes.
      intercept_: Biases, with shape `[C]`, or `[1]` for two classes.
      n_features_in_: Number of features d.
      correction_: What `alphanet_jax.fit` returned, without its data; None where
        nothing was corrected.
      remarks_: What a person should know, a line each.

    Examples:
      >>> rng = np.random.default_rng(0)
      >>> centers = rng.normal(size=(6, 8))
      >>> y = np.repeat(list("abcdef"), [120, 110, 60, 50, 9, 8])
      >>> x = np.repeat(centers, [120, 110, 60, 50, 9, 8], axis=0)
      >>> x += 0.5 * rng.normal(size=x.shape)
      >>> found = AlphaNetClassifier(seeds=2, train_epochs=3).fit(x, y)
      >>> found.predict(centers).tolist()
      ['a', 'b', 'c', 'd', 'e', 'f']
      >>> found.correction_.splits["few"].tolist()
      [4, 5]
    """

    def __init__(
        self,
        estimator: Any = None,
        *,
        few_below: int | float | str = splits.FEW_BELOW,
        many_above: int | float | str = splits.MANY_ABOVE,
        rho: float = 0.5,
        seeds: int = 10,
        seed: Which = "best",
        n_neighbors: int = 5,
        train_epochs: int = 25,
        method: str = "alphanet",
        settings: Mapping[str, Any] | None = None,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.few_below = few_below
        self.many_above = many_above
        self.rho = rho
        self.seeds = seeds
        self.seed = seed
        self.n_neighbors = n_neighbors
        self.train_epochs = train_epochs
        self.method = method
        self.settings = settings
        self.random_state = random_state

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        weight: ArrayLike | None = None,
        bias: ArrayLike | None = None,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
    ) -> "AlphaNetClassifier":
        """Corrects a classifier.

        Args:
          X: Training features, with shape `[n, d]`; float32 and float64 are not copied.
          y: Labels of any kind, with shape `[n]`.
          weight: Weights of the classifier, with shape `[C, d]`, in the sorted order of
            labels; None fits logistic regression first.
          bias: Its biases, with shape `[C]`; None for zeros.
          X_val: Validation features, by which epochs and the best run are chosen.
          y_val: Their labels.

        Returns:
          The estimator.

        Raises:
          ValueError: If anything is not right.
        """
        from sklearn.utils.multiclass import check_classification_targets
        from sklearn.utils.validation import validate_data

        floats = [np.float32, np.float64]
        rows, y = validate_data(self, as_numpy(X), as_numpy(y), dtype=floats)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                "AlphaNetClassifier needs samples of at least 2 classes, but y has "
                f"only one class: {self.classes_[0]!r}"
            )
        val = self._validation(X_val, y_val, floats)
        original = self._original(rows, labels, weight, bias)
        self.remarks_: tuple[str, ...] = ()
        self.correction_ = self._correct(rows, labels, original, val)
        head = original
        if self.correction_ is not None:
            head = self.correction_.head(self._chosen_seed())
            self.correction_ = dataclasses.replace(self.correction_, data=None)
        if len(self.classes_) == 2:  # as scikit-learn's own
            head = Head(
                head.weight[1:] - head.weight[:1], head.bias[1:] - head.bias[:1]
            )
        self.coef_, self.intercept_ = head
        return self

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Computes scores of classes: logits, or their difference for two classes.

        Args:
          X: Features, with shape `[n, d]`.

        Returns:
          Scores, with shape `[n, C]`, or `[n]` for two classes.
        """
        from sklearn.utils.validation import check_is_fitted, validate_data

        check_is_fitted(self)
        floats = [np.float32, np.float64]
        rows = validate_data(self, as_numpy(X), dtype=floats, reset=False)
        scores = np.asarray(rows @ self.coef_.T + self.intercept_)
        return scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predicts the labels of features, with shape `[n]`."""
        scores = self.decision_function(X)
        places = scores > 0 if scores.ndim == 1 else scores.argmax(axis=1)
        return np.asarray(self.classes_[places.astype(np.intp)])

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Computes probabilities of classes, with shape `[n, C]`: softmax of logits."""
        scores = self.decision_function(X)
        if scores.ndim == 1:
            scores = np.column_stack([np.zeros_like(scores), scores])
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    def predict_log_proba(self, X: ArrayLike) -> np.ndarray:
        """Computes logarithms of probabilities of classes, with shape `[n, C]`."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.predict_proba(X)))

    def _first_seed(self) -> int:
        from sklearn.utils import check_random_state

        if self.random_state is None:
            return 0
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _chosen_seed(self) -> Which:
        """Returns the seed to take, by its number among those of the correction."""
        if isinstance(self.seed, str):
            return self.seed
        assert self.correction_ is not None
        first: int = self.correction_.result["seeds"].min()
        return int(first + self.seed)

    def _validation(
        self, X_val: ArrayLike | None, y_val: ArrayLike | None, floats: list[Any]
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Checks validation data; returns features, and labels as class ids."""
        from sklearn.utils.validation import check_X_y

        if (X_val is None) != (y_val is None):
            missing = "X_val" if X_val is None else "y_val"
            raise ValueError(f"X_val and y_val belong together, but {missing} is None")
        if X_val is None:
            return None
        rows, truth = check_X_y(as_numpy(X_val), as_numpy(y_val), dtype=floats)
        unknown = np.setdiff1d(truth, self.classes_)
        if len(unknown):
            raise ValueError(f"y_val has labels that y has not: {unknown[:5].tolist()}")
        return rows, np.searchsorted(self.classes_, truth)

    def _original(
        self,
        X: np.ndarray,
        labels: np.ndarray,
        weight: ArrayLike | None,
        bias: ArrayLike | None,
    ) -> Head:
        """Takes the classifier that is given, or fits one."""
        if weight is None:
            if bias is not None:
                raise ValueError("bias is given, but no weight; give both, or neither")
            weight, bias = self._fit_first(X, labels)
        rows = np.atleast_2d(np.asarray(as_numpy(weight)))
        if bias is None:
            bias = np.zeros(len(rows))
        column = np.ravel(np.asarray(as_numpy(bias)))
        if rows.shape[0] == 1 and len(self.classes_) == 2:  # as scikit-learn has it
            rows, column = (
                np.concatenate([-rows, rows]) / 2,
                np.array([-1, 1]) * column / 2,
            )
        expected = (len(self.classes_), X.shape[1])
        if rows.shape != expected or column.shape != expected[:1]:
            raise ValueError(
                f"weight must have shape {expected} and bias {expected[:1]}, for the "
                f"labels in y and the features in X, got {rows.shape} and "
                f"{column.shape}"
            )
        return Head(rows, column)

    def _fit_first(self, X: np.ndarray, labels: np.ndarray) -> Head:
        from sklearn.base import clone
        from sklearn.linear_model import LogisticRegression

        first = self.estimator
        first = LogisticRegression(max_iter=1000) if first is None else clone(first)
        fitted = first.fit(X, labels)
        if not hasattr(fitted, "coef_") or not hasattr(fitted, "intercept_"):
            raise ValueError(
                "estimator must be a linear classifier with coef_ and intercept_, got "
                f"{self.estimator!r}"
            )
        weight, bias = np.atleast_2d(fitted.coef_), np.atleast_1d(fitted.intercept_)
        # Without an intercept it is a single zero.
        return Head(weight, np.broadcast_to(bias, len(weight)))

    def _correct(
        self,
        X: np.ndarray,
        labels: np.ndarray,
        original: Head,
        val: tuple[np.ndarray, np.ndarray] | None,
    ) -> Correction | None:
        """Corrects a classifier; warns and returns None if there is nothing to."""
        try:
            found = splits.splits_from_counts(
                np.bincount(labels),
                few_below=self.few_below,
                many_above=self.many_above,
            )
        except splits.OneSplitError as error:
            self._leave(str(error))
            return None
        num_base = len(self.classes_) - len(found["few"])
        num_neighbors = min(self.n_neighbors, num_base - 1)
        if num_neighbors < min(_LEAST_NEIGHBORS, self.n_neighbors):
            self._leave(
                f"{num_base} of its {len(self.classes_)} classes are not few, and "
                f"neighbors are taken from at least {_LEAST_NEIGHBORS + 1}"
            )
            return None
        corrected = correction.fit(
            X,
            labels,
            *original,
            val=val,
            test=(X, labels) if val is None else val,
            splits=found,
            label_names=[str(label) for label in self.classes_],
            method=self.method,
            seed=self._first_seed(),
            **self._settings(num_neighbors),
        )
        self.remarks_ = corrected.remarks
        return corrected

    def _settings(self, num_neighbors: int) -> dict[str, Any]:
        """Lists settings: those that AlphaNet alone has a use for, for that alone."""
        own = {"rho": self.rho, "seeds": self.seeds, "train_epochs": self.train_epochs}
        return {
            "n_neighbors": num_neighbors,
            **(own if self.method == "alphanet" else {}),
            **dict(self.settings or {}),
        }

    def _leave(self, reason: str) -> None:
        """Says that the classifier stays as it is."""
        line = f"the classifier is left as it is: {reason}"
        self.remarks_ = (line,)
        warnings.warn(line, UserWarning, stacklevel=4)
