//! EDGE: demo, to come with the next step.
