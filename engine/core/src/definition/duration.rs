#![allow(missing_docs)]
//! stub
use std::time::Duration; use crate::Value;
pub fn from_value(v:&Value)->Result<Duration,String>{ v.as_f64().map(Duration::from_secs_f64).ok_or("x".into()) }
