-- What processors hold is of another generation now; the one before the live one ends here.
UPDATE positions SET generation = generation + 1, switched_offset = next_offset
