"""Jobs are killed and disturbed at random until they are done, and what they leave is checked."""
