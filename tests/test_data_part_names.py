import pytest

from handful.data.part_names import find_parts, is_container

NAMES = {
    "train": "train Train TRAINING training_set trainset train_images data-train train2017 01_train"
    " train_data TrainingSet trainval imgs.train",
    "validation": "val valid VALIDATION validation-set val2017 dev Dev_Set eval evaluation"
    " validset",
    "test": "test tests Testing test_set test1 TestImages testdata held_out hold-out",
}


@pytest.mark.parametrize(
    ("name", "part"), [(name, part) for part, names in NAMES.items() for name in names.split()]
)
def test_the_names_in_use_are_known(name: str, part: str) -> None:
    assert find_parts([name, "cats"]) == {name: part}
    assert find_parts([f"  {name} ".replace("_", " ")]) != {} and is_container(name)


def test_names_of_several_words_are_parts_by_each_other() -> None:
    assert find_parts(["seg_train", "seg_test", "seg_pred"]) == {
        "seg_train": "train",
        "seg_test": "test",
    }
    assert find_parts(["fruits-360_Training", "fruits-360_Test"]).keys() == {
        "fruits-360_Training",
        "fruits-360_Test",
    }
    assert find_parts(["FoodTrain", "FoodVal"]) == {"FoodTrain": "train", "FoodVal": "validation"}
    # Which of two sets is meant, nobody said.
    assert find_parts(["a_train", "a_test", "b_train", "b_test"]) == {}


@pytest.mark.parametrize(
    "name", ["invalid", "contest", "devil", "test_drive", "steam train", "train_test_split", "cats"]
)
def test_other_words_are_not_parts(name: str) -> None:
    assert find_parts([name]) == {} and not is_container(name)
