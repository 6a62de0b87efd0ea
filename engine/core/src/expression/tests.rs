use super::*;
use crate::json;

fn run(source: &str, input: &Value) -> Result<Value, String> {
    let program = Program::compile(source, &[]).map_err(|e| format!("{e}; {}", e.hint))?;
    program.eval(&Scope::new(input, &Limits::default())).map_err(|e| e.detail())
}

#[test]
fn first_steps() {
    assert_eq!(run(".a.b", &json!({"a": {"b": 3}})), Ok(json!(3)));
    assert_eq!(run("[.[] | select(. > 1)] | add", &json!([1, 2, 3])), Ok(json!(5)));
}
