# %% [markdown]
# # 1. The data
#
# A computer is to tell cats from dogs. Nobody can write down rules for that, so it will learn
# them from examples: 2,000 training photos, and 1,000 validation photos to see what it has learned.
# Before any network is built, this page looks at the photos. Most classifiers that fail do so
# because nobody did.
#
# You will learn
#
# - how photos on disk become arrays of numbers that a network takes, a **minibatch** at a time;
# - what the training and the validation photos are for;
# - what a **leak** is, and how to find one.
#
# ## Get the photos
#
# ```
# handful data cats-vs-dogs
# ```
#
# unpacks them into `data/cats-vs-dogs`, downloading them first if need be. A folder for each
# part, and in it a folder for each class: the folders' names are the labels.
#
# ```
# data/cats-vs-dogs/
# ├── train/
# │   ├── cats/           1,000 photos
# │   └── dogs/           1,000 photos
# └── validation/
#     ├── cats/             500 photos
#     └── dogs/             500 photos
# ```
#
# Your own photos will do as well: name their folder in the variable `HANDFUL_GUIDE_PHOTOS`. With
# `HANDFUL_GUIDE_QUICK=1` all pages take a few photos and train for a moment only, to see that
# everything works.

# %%
import guide
import numpy as np

import handful
from handful import AugmentationPolicy

PHOTOS = guide.find_photos()

# %% [markdown]
# ## An index: which photos are there?
#
# `load_index` looks into every file, but decodes none: it notes its place, its class, and a hash
# of its bytes. Files that are no photos are set aside with the reason.

# %%
index = handful.load_index(PHOTOS)
print(f"{len(index):,} photos of {' and '.join(index.class_names)}")
for part, classes in index.counts().items():
    print(f"  {part}: " + ", ".join(f"{name} {count:,}" for name, count in classes.items()))
for file in index.rejected:
    print(f"  {file.path} {file.reason}")

# %% [markdown]
# A label is a number: the class's place among the sorted names. For the exercise's photos 0 is a
# cat and 1 is a dog.

# %%
for number, name in enumerate(index.class_names):
    print(f"{number} = {name}, such as {index.paths[int(np.argmax(index.labels == number))]}")
assert len(index.class_names) == 2, "these pages tell two classes from each other"

# %% [markdown]
# ## Training and validation photos
#
# A network that has seen a photo a hundred times may know it by heart. That it names *this* photo
# right tells nothing about the next one. So some photos are kept back: the network never learns
# from them, and is only asked about them. These are the **validation** photos.
#
# `split_index` keeps the parts that the photos come in; where they come in none, it holds a fifth
# of each class back. It looks at all photos first: copies, also shrunk ones, and shots of one burst
# stay on one side.

# %%
split = handful.split_index(index)
train, validation = split.part("train"), split.part("validation")
print(f"{len(train):,} training photos, {len(validation):,} validation photos")

assert not set(split.train) & set(split.validation)
assert not set(train.content_hashes) & set(validation.content_hashes)

# %% [markdown]
# ## Minibatches: from files to numbers
#
# A network does not take 2,000 photos at once, nor one at a time, but a few dozen: a
# **minibatch**. `handful.batches` decodes the photos, brings them all to 150 x 150 pixels, draws
# an order anew for each epoch, and hands out 64 at a time. A pixel's values run from 0 to 255;
# networks learn better from values about 1, hence `rescale`.

# %%
batches = handful.batches(
    train, image_size=(150, 150), batch_size=64, policy=AugmentationPolicy(rescale=1 / 255)
)
images, labels = next(iter(batches))

print(f"images: {images.shape} {images.dtype}, from {images.min():.2f} to {images.max():.2f}")
print(f"labels: {labels.shape} {labels.dtype}, the first eight: {labels[:8]}")
print(f"minibatches in an epoch: {len(batches)}")

assert images.shape == (min(64, len(train)), 150, 150, 3)
assert 0 <= images.min() and images.max() <= 1
assert set(labels) <= {0.0, 1.0}
assert len(batches) == np.ceil(len(train) / 64)

# %% [markdown]
# Four numbers describe the images: which photo of the minibatch, which row, which column, which
# color (red, green, blue).
#
# ## Look at them
#
# Sixteen photos with their labels. Do the labels fit? What differs between two photos of the same
# class: the size of the animal, where it sits, the light, the background, people in the photo?

# %%
from handful.reports.sheets import example_sheet

pictures = [np.rint(image * 255).astype(np.uint8) for image in images[:16]]
names = [index.class_names[int(label)] for label in labels[:16]]
guide.show(example_sheet(pictures, names, "16 training photos"), "1-photos")

# %% [markdown]
# The page writes this sheet with your photos into `runs/guides`. Here it is with drawn images
# of two simple classes, so that no one's photos are copied:
#
# ![Sixteen drawn images in rows of four, each with its class below: round or square](figures/1-pictures.png)
#
# The photos are wide or tall, and these are square: `batches` squashes them, as the exercise
# does. `handful.batches(..., resize="crop")` cuts the edges off instead.
#
# ## What is a leak?
#
# If the same photo lies among the training *and* the validation photos, the network is asked
# about something it was shown with the answer. Its validation accuracy then looks better than it
# is: knowledge has **leaked**. A copy need not be the same file: saved again, made smaller, or
# the next shot of a burst, it is a leak all the same.
#
# Let us make one on purpose: a few photos, and one of the training photos saved again, smaller
# and with stronger compression, among the validation photos.

# %%
import cv2

leaky = guide.fresh("leaky")
for part_name, part, first, last in (("train", train, 0, 10), ("validation", validation, 0, 4)):
    for label, name in enumerate(index.class_names):
        rows = np.flatnonzero(part.labels == label)[first:last]
        (leaky / part_name / name).mkdir(parents=True)
        for row in rows:
            (leaky / part_name / name / f"{row:04d}.jpg").write_bytes(part.read(int(row)))

name = index.class_names[0]
original = sorted((leaky / "train" / name).iterdir())[0]
small = cv2.resize(cv2.imread(str(original)), None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
cv2.imwrite(str(leaky / "validation" / name / "copy.jpg"), small, [cv2.IMWRITE_JPEG_QUALITY, 85])

found = handful.check(leaky, output=False)
for one, other in found.split.leaks:
    print(f"Leak: {found.index.paths[one]} = {found.index.paths[other]}")

assert any("copy.jpg" in found.index.paths[other] for _, other in found.split.leaks)
assert handful.split_index(handful.load_index(leaky)).leaks == found.split.leaks

# %% [markdown]
# Its bytes differ, and its size does, yet the copy is found: `check` compares small gray
# thumbnails of all photos. So does `split_index`; but the parts that photos come in it keeps, and
# names the pairs on both sides in `split.index.warnings`. On the command line the check is
#
# ```
# handful check data/cats-vs-dogs
# ```
#
# and `handful train --drop-leaks` leaves leaking training photos out. What about all the photos
# of this exercise?

# %%
found = handful.check(PHOTOS, output=False)
width, height = np.median(found.sizes, axis=0)
print(f"{len(found.index):,} readable photos, in the median {width:.0f} x {height:.0f} pixels")
print(f"{len(found.split.duplicates)} pairs of near-duplicates, {len(found.split.leaks)} leaks")
for one, other in found.split.duplicates:
    print(f"  {found.index.paths[one]} = {found.index.paths[other]}")

# %% [markdown]
# ## Questions
#
# **1. How many numbers does a network get for one photo of 150 x 150 pixels?**
#
# <details><summary>Answer</summary>
#
# 150 · 150 · 3 = 67,500: one for each pixel and color.
#
# </details>
#
# **2. How many minibatches of 64 make an epoch of 2,000 photos, and how large is the last one?**
#
# <details><summary>Answer</summary>
#
# 2,000 / 64 = 31.25, so there are 32. The last has 2,000 - 31 · 64 = 16 photos.
#
# </details>
#
# **3. A classifier that always says "dog": how accurate is it on these validation photos? And on
# a set of 900 dogs and 100 cats?**
#
# <details><summary>Answer</summary>
#
# Half of the validation photos are dogs, so 50 %. On the other set it is 90 %, and has still not
# learned a thing. Count the classes before you trust an accuracy.
#
# </details>
#
# **4. Somebody photographs each of ten dogs a hundred times, and deals the photos out at random:
# 800 to learn from, 200 to look at. No two files are alike. Is there a leak?**
#
# <details><summary>Answer</summary>
#
# Yes. Every dog, with its sofa and its garden, is in both parts. The validation accuracy says how
# well *these ten* dogs are recognized, not how well the next one will be. Whole dogs must go to
# one part or the other. Near-duplicates are found by the machine; that two different shots show
# the same dog, only you can know: say so in a CSV with the columns `path,label,group`, and
# photos of one group stay together.
#
# </details>
#
# **5. You try 200 networks and keep the one with the best validation accuracy. Is that accuracy
# what you may promise for new photos?**
#
# <details><summary>Answer</summary>
#
# No. Of 200 networks some are lucky on these 1,000 photos, and you have picked a lucky one.
# Photos that were used to choose are no longer unseen. For a promise, keep a third part,
# **test**, and look at it once, at the very end.
#
# </details>
#
# Next: [2. A network from scratch](2_from_scratch.md)

# %%
print("Page 1: all assertions held")
