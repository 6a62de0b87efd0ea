#![allow(missing_docs)]
//! stub
use crate::{Value,time::Timestamp};
#[derive(Debug)] pub struct Policy;
pub struct Decision;
impl Policy{pub fn decide(&self,_f:&Value,_p:&Value,_n:Timestamp)->Decision{Decision}}
impl Decision{pub fn to_value(&self)->Value{Value::Null}}
pub struct PolicyDocument;
impl PolicyDocument { pub fn parse(_s: &str, _f: &str) -> Result<Self, Vec<crate::definition::Diagnostic>> { Ok(Self) } }
impl Policy { pub fn compile(_d: PolicyDocument) -> Result<Self, Vec<crate::definition::Diagnostic>> { Ok(Self) } pub fn name(&self)->&str{"x"} pub fn version(&self)->&str{"1"} pub fn digest(&self)->crate::definition::plan::Digest{ crate::definition::plan::Digest([0;32])} }
