//! Typed readers of keywords.
