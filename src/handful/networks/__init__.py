"""Networks: pretrained ones, converted and run on the processor; the exercise's own."""
