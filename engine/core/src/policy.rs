#![allow(missing_docs)]
//! stub
use crate::{Value,time::Timestamp};
#[derive(Debug)] pub struct Policy;
pub struct Decision;
impl Policy{pub fn decide(&self,_f:&Value,_p:&Value,_n:Timestamp)->Decision{Decision}}
impl Decision{pub fn to_value(&self)->Value{Value::Null}}
