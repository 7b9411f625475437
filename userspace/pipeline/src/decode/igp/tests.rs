//! Whole packets through the decoder.
