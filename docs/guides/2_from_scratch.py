# %% [markdown]
# # 2. A network from scratch
#
# A convolutional network for the photos of [page 1](1_data.md), written layer by layer. At first
# its weights are random, and it knows nothing of the world but what 2,000 photos show.
#
# You will learn
#
# - how to write a network with Keras' functional API, and count its parameters;
# - how to train it, and read its curves;
# - what **overfitting** is. This network will overfit, and that is the point.

# %%
import guide
import keras
from keras import layers

import handful
from handful import AugmentationPolicy, TrainConfig
from handful.reports.training_charts import history_charts

PHOTOS = guide.find_photos()

# %% [markdown]
# ## The network
#
# In the functional API each layer is called with what the layer before it returned. Four times
# the same three steps follow each other:
#
# - **convolution**: small filters of 3 x 3 pixels slide over the photo, and each answers where
#   it finds its pattern; the first ones find edges and colors, later ones what these make up;
# - **max-pooling**: of each 2 x 2 answers the largest is kept, so that height and width halve;
# - **dropout**: while training, a fifth of the answers is set to zero at random, so that the
#   network cannot rely on any single one.
#
# Then the answers are laid out in one row (**flatten**), and two dense layers draw the
# conclusion. The last has one neuron with a sigmoid: a number between 0 and 1, the probability of
# class 1.


# %%
def build(input_shape, num_classes):
    """The exercise's network, for two classes."""
    images = layers.Input(input_shape)
    x = images
    for filters in (16, 32, 64, 64):
        x = layers.Conv2D(filters, 3, activation="relu")(x)
        x = layers.MaxPooling2D(2)(x)
        x = layers.Dropout(0.2)(x)
    x = layers.Flatten()(x)
    x = layers.Dense(512, activation="relu")(x)
    x = layers.Dropout(0.2)(x)
    output = layers.Dense(1, activation="sigmoid")(x)
    return keras.Model(images, output)


keras.utils.set_random_seed(0)
network = build((150, 150, 3), 2)
network.summary()

assert network.count_params() == 1_667_169

# %% [markdown]
# Where do 1,667,169 parameters come from? A convolution has 3 · 3 weights for each pair of an
# input and an output channel, and one bias for each output channel. A convolution without padding
# loses a pixel on every side, pooling halves and drops what is left over.
#
# | layer | output | parameters |
# |---|---|---|
# | convolution, 16 | 148 x 148 x 16, pooled 74 x 74 | (3 · 3 · 3 + 1) · 16 = 448 |
# | convolution, 32 | 72 x 72 x 32, pooled 36 x 36 | (3 · 3 · 16 + 1) · 32 = 4,640 |
# | convolution, 64 | 34 x 34 x 64, pooled 17 x 17 | (3 · 3 · 32 + 1) · 64 = 18,496 |
# | convolution, 64 | 15 x 15 x 64, pooled 7 x 7 | (3 · 3 · 64 + 1) · 64 = 36,928 |
# | flatten | 7 · 7 · 64 = 3,136 | 0 |
# | dense, 512 | 512 | (3,136 + 1) · 512 = 1,606,144 |
# | dense, 1 | 1 | 512 + 1 = 513 |
#
# `handful summary scratch` prints the same table. It is the same network as the library's own:

# %%
from handful.training.networks import build_scratch

assert build_scratch().count_params() == network.count_params()
assert [w.shape for w in build_scratch().weights] == [w.shape for w in network.weights]

# %% [markdown]
# ## Train it
#
# Three things must be chosen. The **loss** says how wrong the network is; for one probability it
# is the binary cross-entropy, which punishes being sure and wrong. The **optimizer**, Adam,
# changes the weights a little after each minibatch so that the loss falls; its **learning rate**
# of 0.0005 says how much. The **metric**, accuracy, is for us: the share of photos
# classified correctly.
#
# For the validation photos no order is drawn, and nothing is changed but the values' range.

# %%
split = handful.split_index(handful.load_index(PHOTOS))
only_rescale = AugmentationPolicy(rescale=1 / 255)
train = handful.batches(split.part("train"), (150, 150), 64, policy=only_rescale)
validation = handful.batches(
    split.part("validation"), (150, 150), 64, policy=only_rescale, shuffle=False
)

network.compile(
    optimizer=keras.optimizers.Adam(5e-4), loss="binary_crossentropy", metrics=["accuracy"]
)
fitted = network.fit(train, validation_data=validation, epochs=guide.epochs(30), verbose=2)

# %% [markdown]
# ## Read the curves
#
# `fit` returns what was measured in each epoch. Two panels tell the story: accuracy on the left,
# loss on the right, each for the training photos (dashed) and the validation photos (solid).

# %%
history = fitted.history
guide.show(history_charts({"from scratch": history}), "2-by-hand")

last = {name: values[-1] for name, values in history.items()}
gap = 100 * (last["accuracy"] - last["val_accuracy"])
print(f"At the end: training {last['accuracy']:.1%}, validation {last['val_accuracy']:.1%}")
print(f"Training is {gap:+.1f} points above validation")
best = min(range(len(history["val_loss"])), key=history["val_loss"].__getitem__) + 1
print(f"The validation loss was lowest in epoch {best} of {len(history['val_loss'])}")

assert len(history["val_accuracy"]) == guide.epochs(30)

# %% [markdown]
# ![Accuracy and loss of the network from scratch by epoch](figures/2-curves.png)
#
# ## Overfitting
#
# The dashed curves go on getting better, epoch after epoch. The solid ones follow for a while and
# then stay behind. From there on the network no longer learns what cats and dogs look like, but
# what *these 2,000 photos* look like: with 1.7 million parameters there is room for that. This is
# overfitting, and these are its signs:
#
# - **a gap** between training and validation accuracy that grows (the bracket at the end);
# - **a validation loss that rises** while the training loss goes on falling: the network becomes
#   ever surer of itself, and where it is wrong, it is wrong with conviction;
# - the accuracy may stay where it is meanwhile; so look at the loss first.
#
# What helps? More photos; augmented copies of those one has ([page 3](3_augmentation.md)); a network
# that has seen millions of others ([page 4](4_transfer.md)); dropout, as here; a smaller network;
# stopping early.
#
# ## The same in one call
#
# `handful.train` does all of this with any network of yours: it splits, trains, measures, and
# writes a run: a folder with the classifier, the history, and a report to open in the browser.

# %%
run = handful.train(
    PHOTOS,
    TrainConfig(strategy="scratch", recipe="keras-tutorial", epochs=guide.epochs(30)),
    network=build,
    output=guide.fresh("scratch"),
)
low, high = run.evaluation.accuracy_interval
print(f"{run.evaluation.accuracy:.1%} of {len(run.evaluation):,} validation photos correct,")
print(f"95 % interval {low:.1%} to {high:.1%}; {run.trained.fitted.seconds:.0f} s of training")
print(f"Report: {run.path / 'report.html'}")
guide.show(history_charts({"from scratch": run.trained.fitted.history}), "2-curves")

assert run.trained.num_parameters == run.trained.num_trainable == 1_667_169

# %% [markdown]
# On the command line the same is
#
# ```
# handful train data/cats-vs-dogs --strategy scratch --recipe keras-tutorial
# ```
#
# The accuracy is not quite that of the training by hand: other random weights at the start,
# another order of the photos. The **interval** tells how far luck reaches: had the network been
# asked about other validation photos of the same kind, its accuracy would probably lie in it.
# With 1,000 photos it is some five points wide, so a difference of one point between two networks
# means little.
#
# Of all 2,000 photos, measured with the command above:
#
# <!-- measured -->
#
# | | training, last epoch | validation, last epoch | 95 % interval | gap, points | time |
# |---|---|---|---|---|---|
# | from scratch, 30 epochs | 93.6 % | 72.9 % | 70.1 to 75.6 % | +20.7 | 9 min |
#
# Times are of one core of an Intel Xeon, with another training on the second; one seed each.
#
# <!-- /measured -->
#
# ## Your own network
#
# Write a function `build(input_shape, num_classes)` that returns a Keras model ending in
# probabilities, and give it to `train`. This one replaces the costly flatten by the mean of each
# filter's answers, and has batch norm, which keeps the values in a sensible range on their way.


# %%
def build_own(input_shape, num_classes):
    """A smaller network: twenty times fewer parameters."""
    images = layers.Input(input_shape)
    x = images
    for filters in (16, 32, 64, 96):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization()(x)
        x = layers.ReLU()(x)
        x = layers.MaxPooling2D(2)(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.3)(x)
    if num_classes == 2:
        output = layers.Dense(1, activation="sigmoid")(x)
    else:
        output = layers.Dense(num_classes, activation="softmax")(x)
    return keras.Model(images, output)


own = handful.train(
    PHOTOS,
    TrainConfig(strategy="scratch", recipe="keras-tutorial", epochs=guide.epochs(10)),
    network=build_own,
    output=guide.fresh("own"),
)
print(f"{own.trained.num_parameters:,} parameters: {own.evaluation.accuracy:.1%} right")
guide.show(
    history_charts(
        {
            "the exercise's": run.trained.fitted.history,
            "your own": own.trained.fitted.history,
        }
    ),
    "2-own",
)

assert own.trained.num_parameters < run.trained.num_parameters / 15

# %% [markdown]
# In a file `my_network.py`, the same function works on the command line:
#
# ```
# handful summary my_network.py:build
# handful train data/cats-vs-dogs --strategy scratch --recipe keras-tutorial --network my_network.py:build
# ```
#
# ## Questions
#
# **1. Which layer holds most of the parameters, and what share?**
#
# <details><summary>Answer</summary>
#
# The dense layer of 512 neurons: 1,606,144 of 1,667,169, over 96 %. Each of its neurons has a
# weight of its own for every place in the photo, so what it learned about the left ear says
# nothing to it about the right one.
#
# </details>
#
# **2. In the first epoch the validation accuracy is often *higher* than the training accuracy.
# How can that be?**
#
# <details><summary>Answer</summary>
#
# For two reasons. The training accuracy is a mean over the epoch, while the network is still
# getting better; the validation photos are looked at when the epoch is over. And dropout is at
# work while training only.
#
# </details>
#
# **3. A network of two classes that knows nothing: what are its accuracy and its loss?**
#
# <details><summary>Answer</summary>
#
# It says 0.5 for every photo: 50 % right, and a loss of -ln 0.5 = 0.693. If your loss stays
# there, the network is not learning.
#
# </details>
#
# **4. You would like to stop when the validation loss rises. But which epoch is the best is
# decided by the validation photos. Is there something to mind?**
#
# <details><summary>Answer</summary>
#
# They have been used to choose, so the accuracy of the chosen epoch is a little too good. With 30
# epochs it is a small matter, and still the reason why a test part exists (page 1, question 5).
# In handful it is `TrainConfig(..., patience=5)`: stop after five epochs without a better
# validation loss, and go back to the best.
#
# </details>
#
# **5. Leave the four dropouts after the convolutions out. What do you expect to see in the
# curves? Try it.**
#
# <details><summary>Answer</summary>
#
# The training curves rise faster, and the gap opens earlier. Dropout does not make a network
# better at its training photos; it makes learning them by heart harder.
#
# </details>
#
# Next: [3. Augmentation](3_augmentation.md)

# %%
print("Page 2: all assertions held")
