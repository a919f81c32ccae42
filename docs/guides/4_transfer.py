# %% [markdown]
# # 4. Transfer
#
# So far each network began with random weights and saw 2,000 photos. Others have trained networks
# on ImageNet: over a million photos of a thousand classes, over a hundred breeds of dogs among
# them. Such a network has learned to see fur, ears and eyes. It can be had for nothing, and built
# upon: this is **transfer learning**.
#
# You will learn
#
# - what it means to freeze a network, and how many parameters are left to train;
# - why its features need computing only once;
# - how to tell whether one classifier is *really* better than another.

# %%
import time
from pathlib import Path

import guide
import keras
import numpy as np

import handful
from handful import CompareConfig, TrainConfig
from handful.features.registry import build_network, find_backbone
from handful.reports.training_charts import history_charts, time_chart
from handful.training.networks import build_head, build_transfer

PHOTOS = guide.find_photos()
split = handful.split_index(handful.load_index(PHOTOS))

# %% [markdown]
# ## A frozen body and a small head
#
# Xception, published in 2017, is a stack of convolutions, like ours but far deeper. Its last
# layer, which tells ImageNet's thousand classes apart, is cut off. What is left, the **body**,
# makes of a photo of 150 x 150 pixels 2,048 numbers, the photo's **features**. On them sits a new
# **head**: dropout, and one neuron with a sigmoid.
#
# The body is **frozen**: training does not change it. The parameters can be counted without
# having any weights:

# %%
xception = handful.summary("xception")
print(f"{xception.parameters:,} parameters, of which {xception.trainable:,} are trained")

assert xception.parameters == 20_863_529
assert xception.trainable == 2_048 + 1 == 2_049  # a weight for each feature, and a bias

# %% [markdown]
# ## Weights
#
# Name the file with Xception's ImageNet weights (Keras calls it "notop") in the variable
# `HANDFUL_GUIDE_XCEPTION`. Without it this page takes the small network efficientnet-lite0, whose
# weights were installed together with handful. It makes 1,280 features, and all else is the same.

# %%
if guide.XCEPTION:
    backbone = find_backbone("xception", Path(guide.XCEPTION), image_size=150)
else:
    print("HANDFUL_GUIDE_XCEPTION names no weights: efficientnet-lite0 takes Xception's place")
    backbone = find_backbone("efficientnet-lite0", image_size=150)

body = build_network(backbone)
network = build_transfer(body, num_classes=2)
trainable = sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)
print(f"{backbone.metadata.name}: {network.count_params():,} parameters, {trainable:,} trainable")

assert trainable == backbone.metadata.embedding_dim + 1
if guide.XCEPTION:
    assert (network.count_params(), trainable) == (20_863_529, 2_049)

# %% [markdown]
# ## Features are computed once
#
# One could now call `network.fit` with minibatches of photos. Ten epochs would send each photo
# ten times through the body, which answers the same each time, since it is frozen. So let it
# answer once, and train the head on the answers. (The body brings values of 0 to 255 into the
# range that it is used to; hence no `rescale`, and no order drawn, so that the features stay
# beside their labels.)

# %%
started = time.perf_counter()
features, labels = {}, {}
for name in ("train", "validation"):
    photos = handful.batches(split.part(name), (150, 150), 64, shuffle=False)
    features[name] = body.predict(photos, verbose=0)
    labels[name] = split.part(name).labels.astype("float32")
body_seconds = time.perf_counter() - started
print(f"Features of {sum(map(len, labels.values())):,} photos: {body_seconds:.1f} s")

head = build_head(backbone.metadata.embedding_dim, num_classes=2)
head.compile(
    optimizer=keras.optimizers.Adam(1e-3), loss="binary_crossentropy", metrics=["accuracy"]
)
started = time.perf_counter()
fitted = head.fit(
    features["train"],
    labels["train"],
    batch_size=64,
    epochs=10,
    validation_data=(features["validation"], labels["validation"]),
    verbose=2,
)
print(f"Ten epochs of the head: {time.perf_counter() - started:.1f} s")

assert features["train"].shape == (len(split.train), backbone.metadata.embedding_dim)
assert head.count_params() == backbone.metadata.embedding_dim + 1

# %% [markdown]
# It is the same function as the whole network with this head:

# %%
network.layers[-1].set_weights(head.layers[-1].get_weights())
images, _ = handful.batches(split.part("validation"), (150, 150), 8, shuffle=False)[0]
whole = network.predict(images, verbose=0)
in_two_steps = head.predict(features["validation"][: len(images)], verbose=0)

assert np.allclose(whole, in_two_steps, atol=1e-4)

# %% [markdown]
# ## The same in one call
#
# `handful.train` computes the features faster than Keras does, with OpenVINO, and keeps them in a
# cache: the second run, or the run after adding fifty photos, takes moments.

# %%
transfer = handful.train(
    PHOTOS,
    TrainConfig(
        strategy="transfer",
        recipe="keras-tutorial",
        backbone=backbone.metadata.name,
        weights=guide.XCEPTION,
    ),
    output=guide.fresh("transfer"),
)
low, high = transfer.evaluation.accuracy_interval
print(f"{transfer.evaluation.accuracy:.1%} right, 95 % interval {low:.1%} to {high:.1%}")
guide.show(history_charts({"transfer": transfer.trained.fitted.history}), "4-curves")

assert transfer.trained.num_trainable == backbone.metadata.embedding_dim + 1
assert transfer.trained.num_parameters == network.count_params()

# %% [markdown]
# ![Accuracy and loss of the networks of pages 2, 3 and 4 by epoch](figures/4-histories.png)
#
# The solid curve of transfer begins where the others end. With 2,049 parameters to train there is
# little room for learning photos by heart, so there is hardly a gap either.
#
# ## Handful's own way
#
# A head of one layer on fixed features need not be trained in epochs: the best weights can be
# computed (logistic regression; its one knob, the regularization, is set by cross-validation on
# the training photos). This is what `handful train PHOTOS` does when nothing else is asked for,
# with efficientnet-lite0 in 8 bits. It is given the split of the run before, so that both are
# asked about the same photos.

# %%
ours = handful.train(
    PHOTOS,
    TrainConfig(strategy="transfer", recipe="handful"),
    split=transfer.path / "split.csv",
    output=guide.fresh("handful"),
)
low, high = ours.evaluation.accuracy_interval
print(f"{ours.evaluation.accuracy:.1%} right, 95 % interval {low:.1%} to {high:.1%}")
print(f"{ours.seconds['total']:.1f} s, of which {ours.seconds['convert']:.1f} s happen only once")

assert ours.evaluation.paths == transfer.evaluation.paths

# %% [markdown]
# ## Fine-tuning
#
# When the head is trained, one may thaw the upper part of the body and train on, with a learning
# rate ten to a hundred times smaller: its features then adapt to your photos. This is
# **fine-tuning**. It helps most where the photos look unlike ImageNet's (X-rays, circuit boards),
# and it brings overfitting back, for millions of parameters are free again. And since the body
# changes, no features can be kept: each epoch costs a full pass. `handful train PHOTOS --strategy
# fine-tune` does it.
#
# ## Which is better?
#
# Two accuracies differ. Is it more than luck? Both classifiers were asked about the *same*
# photos, so look at these one by one. Photos that both name right, or both wrong, cannot tell
# which is better. Only those count that just one of them names right:

# %%
first = transfer.evaluation.predicted == transfer.evaluation.labels
second = ours.evaluation.predicted == ours.evaluation.labels
only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
print(f"both right {int((first & second).sum())}, both wrong {int((~first & ~second).sum())}")
print(f"only the exercise's right {only_first}, only handful's right {only_second}")

# %% [markdown]
# Were both equally good, each of those photos would be the toss of a coin. How likely is it that
# so many tosses come out so uneven? That is **McNemar's test**. A p-value of 0.03 says: in three
# of a hundred such comparisons of *equal* classifiers, luck alone does this, or more. The
# interval says the same in another way, and tells how large the difference may be.

# %%
from handful.statistics.intervals import mcnemar_test, paired_difference_interval

p_value = mcnemar_test(only_first, only_second)
low, high = paired_difference_interval(second, first)
print(f"McNemar: p = {p_value:.3f}")
print(
    f"handful's minus the exercise's: {100 * (second.mean() - first.mean()):+.1f} points, "
    f"95 % interval {100 * low:+.1f} to {100 * high:+.1f}"
)

assert 0 <= p_value <= 1 and low <= second.mean() - first.mean() <= high
assert mcnemar_test(0, 0) == 1 and mcnemar_test(0, 10) == 2 / 2**10

# %% [markdown]
# ## All of it at once
#
# `handful.compare` trains several ways on one frozen split, counts these photos for every pair,
# raises the p-values where there are several pairs (of twenty comparisons of equals, one falls
# below 0.05), and writes a page with curves and intervals. Here with `quick=True`, which stops
# each network after half a minute:

# %%
comparison = handful.compare(
    PHOTOS,
    CompareConfig(
        strategy=("scratch", "transfer"),
        recipe="keras-tutorial",
        quick=True,
        backbone=backbone.metadata.name,
        weights=guide.XCEPTION,
        epochs=guide.epochs(10),
    ),
    output=guide.fresh("compare"),
)
for summary in comparison.summaries:
    low, high = summary.accuracy_interval
    print(f"{summary.name}: {summary.accuracy:.1%}, 95 % interval {low:.1%} to {high:.1%}")
for difference in comparison.differences:
    print(difference.sentence)
print(comparison.verdict)
print(*comparison.limitations, sep="\n")
guide.show([time_chart(comparison.to_dict()["strategies"])], "4-comparison")

assert len(comparison.differences) == 1
assert (guide.FOLDER / "compare" / "comparison.html").exists()

# %% [markdown]
# The whole exercise, trained to the end, is one command:
#
# ```
# handful compare data/cats-vs-dogs --recipe keras-tutorial
# ```
#
# ![Accuracy with its interval against the time of training, for the three ways of the exercise](figures/4-comparison.png)
#
# <!-- measured -->
#
# | | parameters | of these trained | validation accuracy | 95 % interval | gap, points | time |
# |---|---|---|---|---|---|---|
# | scratch, 30 epochs | 1,667,169 | 1,667,169 | 72.9 % | 70.1 to 75.6 % | +20.7 | 9 min |
# | augmented, 100 epochs | 1,667,169 | 1,667,169 | 81.6 % | 79.1 to 83.9 % | -0.5 | 29 min |
# | transfer with Xception, 10 epochs | 20,863,529 | 2,049 | 96.8 % | 95.5 to 97.7 % | +1.1 | 4 min |
# | `handful train`, no epochs | 3,415,586 | 2,562 | 99.1 % | 98.3 to 99.5 % | none | seconds |
#
# Pairs, as `handful compare` judges them: transfer beats augmented by 15.2 points (95 % interval 12.7 to 17.7); transfer beats scratch by 23.9 points (95 % interval 21.0 to 26.7); augmented beats scratch by 8.7 points (95 % interval 5.6 to 11.7).
#
# Times are of one core of an Intel Xeon, with another training on the second; one seed each.
# The Xception was run through once, in bf16, which this processor computes slowly.
#
# <!-- /measured -->
#
# ## What to take home
#
# - Look at the photos, and for leaks, before you believe an accuracy.
# - Curves show overfitting: a growing gap, a rising validation loss.
# - Augmentation closes much of the gap. It takes patience.
# - With few photos, begin with transfer. It is better, faster, and hardly overfits.
# - An accuracy without an interval is half a sentence, and a difference needs a test on the same
#   photos.
#
# ## Questions
#
# **1. Why may the features be computed once for plain photos, but not with augmentation?**
#
# <details><summary>Answer</summary>
#
# A frozen body gives the same features for the same pixels. With augmentation the pixels are
# others in each epoch, so each copy must go through the body. A compromise: a few fixed copies of
# each photo, computed once (`handful train --views 4`).
#
# </details>
#
# **2. On 1,000 photos, A classifies 970 correctly and B 960. Is A better?**
#
# <details><summary>Answer</summary>
#
# That cannot be said yet. If A alone is right on 10 photos and B alone on none, McNemar gives p =
# 0.002: hardly luck. If A alone is right on 40 and B alone on 30, it gives p = 0.28: may well be
# luck. Try `mcnemar_test(10, 0)` and `mcnemar_test(40, 30)`.
#
# </details>
#
# **3. Two intervals overlap. Does that mean that there is no difference?**
#
# <details><summary>Answer</summary>
#
# No. Each interval also holds the luck of which photos were asked about, and that luck is the
# same for both. Paired on the same photos, a difference can be sure although the intervals
# overlap. Look at the interval *of the difference*.
#
# </details>
#
# **4. You train both once more, with another seed, and now the other one is ahead. Was the test
# wrong?**
#
# <details><summary>Answer</summary>
#
# It answered another question: which of *these two classifiers* is better. Which *way of
# training* is better also depends on the luck of training; for that, train each several times:
# `handful compare --seeds 3`.
#
# </details>
#
# **5. ImageNet has classes for cats and dogs. Is transfer cheating here? What would you expect on
# photos of, say, solar cells?**
#
# <details><summary>Answer</summary>
#
# Not cheating, but an easy case: the body has seen many cats and dogs. For things unlike
# ImageNet's the gain is smaller, and it must be measured anew. Edges and textures are of use
# nearly everywhere, though; it is a good first try for almost any photos.
#
# </details>
#
# Back to [all pages](README.md)

# %%
assert round(mcnemar_test(10, 0), 3) == 0.002 and round(mcnemar_test(40, 30), 2) == 0.28
print("Page 4: all assertions held")
