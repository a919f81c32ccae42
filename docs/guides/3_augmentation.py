# %% [markdown]
# # 3. Augmentation
#
# The network of [page 2](2_from_scratch.md) learned its 2,000 photos by heart. The best remedy is
# more photos, and they cost time and money. The next best is free: a cat that is mirrored, turned
# a little, or moved to the side is still a cat. **Augmentation** shows the network another random
# **view** of each photo in each epoch.
#
# You will learn
#
# - what each parameter of a policy does to a photo, and in which unit;
# - why validation photos are never augmented;
# - what augmentation does to the curves.

# %%
import guide
import numpy as np

import handful
from handful import AugmentationPolicy, TrainConfig
from handful.data.augmentation import EXERCISE_POLICY
from handful.reports.sheets import preview_sheet
from handful.reports.training_charts import history_charts
from handful.training import previews

PHOTOS = guide.find_photos()
split = handful.split_index(handful.load_index(PHOTOS))

# %% [markdown]
# ## A policy
#
# A policy says from which ranges augmented copies (views, in code) are drawn. This is the exercise's:

# %%
policy = AugmentationPolicy(
    rotation_range=40,
    width_shift_range=0.2,
    height_shift_range=0.2,
    shear_range=0.2,
    zoom_range=0.2,
    horizontal_flip=True,
    fill_mode="nearest",
)
assert policy == EXERCISE_POLICY

# %% [markdown]
# | parameter | unit | what is drawn, anew for each view |
# |---|---|---|
# | `rotation_range=40` | degrees | turned by an angle between -40° and 40° |
# | `width_shift_range=0.2` | share of the width | moved up to 20 % of the width to the left or right |
# | `height_shift_range=0.2` | share of the height | moved up to 20 % of the height up or down |
# | `shear_range=0.2` | **degrees** | slanted by an angle between -0.2° and 0.2° |
# | `zoom_range=0.2` | factor | width and height each by a factor of 0.8 to 1.2, each on its own |
# | `horizontal_flip=True` | | half of the copies are flipped |
# | `fill_mode="nearest"` | | where the copy shows what lies outside the photo: the color of its edge |
#
# Keras gives these parameters the same names and meanings. Seeing is better than reading. The
# left image is a photo as the network sees it, beside it are sixteen random copies, and below
# each parameter by itself, from one end of its range to the other.

# %%
images, labels = next(iter(handful.batches(split.part("train"), (150, 150), 16)))
photo = images[0].astype(np.uint8)
preview = previews.draw_preview(photo, policy, name="A training photo, the exercise's policy")
guide.show(preview_sheet(preview), "3-views")

assert preview.views.shape == (16, 150, 150, 3)

# %% [markdown]
# ![A drawn house, sixteen random copies of it, and a row of eight copies for each parameter](figures/3-views.png)
#
# `handful preview PHOTO` draws the same for any photo.
#
# ## Shear is in degrees
#
# Look at the row of `shear_range`: eight times the same photo, it seems. Many people read 0.2
# as "20 %", like the shifts beside it, or as radians, which were 11°. It is 0.2 *degrees*:

# %%
for degrees in (0.2, 20):
    strip = previews.draw_preview(photo, AugmentationPolicy(shear_range=degrees)).strips[0]
    moved = 75 * np.tan(np.radians(degrees))
    changed = np.abs(strip.views[-1].astype(float) - photo).mean()
    print(
        f"A shear of {degrees}° moves the top and bottom edges by {moved:.1f} pixels of 150 and "
        f"changes the values by {changed:.1f} of 255 on average"
    )

assert 75 * np.tan(np.radians(0.2)) < 0.3

# %% [markdown]
# So in this exercise the shear does next to nothing. A policy is worth looking at before it is
# used.
#
# ## Training photos, and only these
#
# Validation answers one question: how good is the network on photos as they will come? Those will
# not be turned by 40°. Augmented validation photos would answer another question, and would
# answer it otherwise each time, since the copies are drawn at random. In code: the training photos
# get the policy, the validation photos `rescale` alone.

# %%
train = handful.batches(
    split.part("train"), (150, 150), 64, policy=AugmentationPolicy(rotation_range=40), shuffle=False
)
validation = handful.batches(
    split.part("validation"),
    (150, 150),
    64,
    policy=AugmentationPolicy(rescale=1 / 255),
    shuffle=False,
)


def first_of_two_epochs(batches):
    """The first minibatch of one epoch, and of the next."""
    before = batches[0]
    batches.on_epoch_end()
    return before, batches[0]


(before, labels_before), (after, labels_after) = first_of_two_epochs(train)
assert not np.array_equal(before, after), "training photos come in new views"
assert np.array_equal(labels_before, labels_after), "of the same photos"

(before, _), (after, _) = first_of_two_epochs(validation)
assert np.array_equal(before, after), "validation photos are always the same"

# %% [markdown]
# ## Train with it
#
# The same network, the same optimizer, the same photos. Only the policy is new, and since no
# photo comes twice in the same view, it takes longer to learn: the exercise takes 100 epochs. If
# page 2 has not been run, the network without augmentation is trained here first.

# %%
scratch_path = guide.FOLDER / "scratch"
if not scratch_path.exists():
    handful.train(
        PHOTOS,
        TrainConfig(strategy="scratch", recipe="keras-tutorial", epochs=guide.epochs(30)),
        output=scratch_path,
    )

augmented = handful.train(
    PHOTOS,
    TrainConfig(strategy="augmented", recipe="keras-tutorial", epochs=guide.epochs(100)),
    output=guide.fresh("augmented"),
)
low, high = augmented.evaluation.accuracy_interval
print(f"{augmented.evaluation.accuracy:.1%} right, 95 % interval {low:.1%} to {high:.1%}")

# %% [markdown]
# ## Compare the curves

# %%
histories = {
    "scratch": handful.RunStore().read(scratch_path).history,
    "augmented": augmented.trained.fitted.history,
}
guide.show(history_charts(histories), "3-curves")

for name, history in histories.items():
    gap = 100 * (history["accuracy"][-1] - history["val_accuracy"][-1])
    print(
        f"{name}: training {history['accuracy'][-1]:.1%}, validation "
        f"{history['val_accuracy'][-1]:.1%}, gap {gap:+.1f} points, "
        f"{np.mean(history['seconds']):.1f} s an epoch"
    )

assert augmented.trained.num_parameters == 1_667_169

# %% [markdown]
# ![Accuracy and loss by epoch of the network without and with augmentation](figures/3-curves.png)
#
# Three things to see: the dashed curve (training) of the augmented network lies lower, for it
# never gets to know a photo by heart; the solid one (validation) climbs more slowly, and for
# longer; and the two stay together.
#
# Of all 2,000 photos, measured with `handful compare data/cats-vs-dogs --recipe keras-tutorial
# --strategy scratch --strategy augmented`:
#
# <!-- measured -->
#
# | | training, last epoch | validation, last epoch | 95 % interval | gap, points | time |
# |---|---|---|---|---|---|
# | scratch, 30 epochs | 93.6 % | 72.9 % | 70.1 to 75.6 % | +20.7 | 9 min |
# | augmented, 100 epochs | 81.1 % | 81.6 % | 79.1 to 83.9 % | -0.5 | 29 min |
#
# Times are of one core of an Intel Xeon, with another training on the second; one seed each.
#
# <!-- /measured -->
#
# On the command line the training above is
#
# ```
# handful train data/cats-vs-dogs --strategy augmented --recipe keras-tutorial
# ```
#
# and with `--recipe handful` another network and a gentler policy are taken, with changes of
# light and color: see `handful preview PHOTO --recipe handful`.
#
# ## Questions
#
# **1. Why is `vertical_flip` not in the exercise's policy?**
#
# <details><summary>Answer</summary>
#
# Cats and dogs are seldom photographed upside down. Views should look like photos that may come.
# For photos from a microscope or a satellite, where up and down mean nothing, it is a good
# parameter.
#
# </details>
#
# **2. You want to tell the handwritten digits 6 and 9 apart. Which parameter would do harm?**
#
# <details><summary>Answer</summary>
#
# A `rotation_range` near 180, or both flips: a 6 turned over *is* a 9, and its label would be
# wrong. A view must keep its label.
#
# </details>
#
# **3. With augmentation the validation accuracy is *above* the training accuracy for many epochs.
# Is something broken?**
#
# <details><summary>Answer</summary>
#
# No. The training accuracy is measured on turned, moved and zoomed copies, and with dropout at
# work; the validation accuracy on plain photos without. The first task is harder.
#
# </details>
#
# **4. A hundred augmented copies of each of 2,000 photos: is that as good as 200,000 photos?**
#
# <details><summary>Answer</summary>
#
# By no means. All copies of a photo show the same animal in the same pose, on the same sofa. What
# the 2,000 photos do not show, a black poodle say, no view will show.
#
# </details>
#
# **5. What happens with `shear_range=20`? And with a `zoom_range` of `(0.2, 0.4)`? Draw both.**
#
# <details><summary>Answer</summary>
#
# Sheared by 20°, upright things lean visibly. The zoom is a factor on coordinates, so below 1
# things get larger: with 0.2 to 0.4 a fifth to two fifths of the photo's width fill the view,
# often without the animal's head.
#
# ```python
# policy = AugmentationPolicy(shear_range=20)
# guide.show(plots.plot_preview(previews.draw_preview(photo, policy)), "my-views")
# ```
#
# </details>
#
# Next: [4. Transfer](4_transfer.md)

# %%
print("Page 3: all assertions held")
