//! Wire types into the model's types and back, one resource a file. Total, or a typed error.
