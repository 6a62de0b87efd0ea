//! What authors of workflows write.

use super::{check, check_error, run};
use crate::json;

#[test]
fn reading_and_defaults() {
    check(".a.b.c", r#"{"a":{"b":{"c":3}}}"#, &["3"]);
    check(".a[\"b c\"], .\"b c\"?, .a.\"b c\"", r#"{"a":{"b c":1}}"#, &["1", "null", "1"]);
    check(".missing.deeper // \"default\"", "{}", &["\"default\""]);
    check(".x // empty", r#"{"x":null}"#, &[]);
    check(
        ".items[0].name, .items[-1].name, .items[9]",
        r#"{"items":[{"name":"a"},{"name":"z"}]}"#,
        &["\"a\"", "\"z\"", "null"],
    );
    check(".items[1:], .items[:-1], .items[1:2]", r#"{"items":[1,2,3]}"#, &["[2,3]", "[1,2]", "[2]"]);
    check("\"abcdef\"[2:4], \"äöü\"[1:]", "null", &["\"cd\"", "\"öü\""]);
    check(".[] | .id?", r#"[{"id":1},2,{"id":3}]"#, &["1", "3"]);
    check("try .a.b catch \"none\"", r#"{"a":"text"}"#, &["\"none\""]);
    check("if .n > 10 then \"big\" elif .n > 5 then \"mid\" else \"small\" end", r#"{"n":7}"#, &["\"mid\""]);
    check("if . then 1 end", "null", &["null"]);
    check(".. | numbers", r#"{"a":[1,{"b":2}]}"#, &["1", "2"]);
}

#[test]
fn building() {
    check(
        "{a: .x, b: (.x + 1), \"c d\": 2, (\"k\" + \"ey\"): 3, x}",
        r#"{"x":1}"#,
        &[r#"{"a":1,"b":2,"c d":2,"key":3,"x":1}"#],
    );
    check(". as {a: $x, b: [$y, {$z}]} | {$x, $y, $z}", r#"{"a":1,"b":[2,{"z":3}]}"#, &[r#"{"x":1,"y":2,"z":3}"#]);
    check(". + {status: \"done\"}", r#"{"id":7}"#, &[r#"{"id":7,"status":"done"}"#]);
    check(". * {a: {c: 2}}", r#"{"a":{"b":1}}"#, &[r#"{"a":{"b":1,"c":2}}"#]);
    check(
        "\"run \\(.id): \\(.tags | join(\", \")) \\(.o)\"",
        r#"{"id":7,"tags":["a","b"],"o":{"x":1}}"#,
        &[r#""run 7: a, b {\"x\":1}""#],
    );
    check("{\"a\": 1} | with_entries(.value += 1 | .key |= \"k_\" + .)", "null", &[r#"{"k_a":2}"#]);
    check(
        "[.[] | {key: .id, value: .}] | from_entries",
        r#"[{"id":"a"},{"id":"b"}]"#,
        &[r#"{"a":{"id":"a"},"b":{"id":"b"}}"#],
    );
    check(
        "from_entries",
        r#"[{"Key":"a","Value":1},{"name":"b","value":null},{"Name":"c","value":false},{"key":"d"}]"#,
        &[r#"{"a":1,"b":null,"c":false,"d":null}"#],
    );
    check("to_entries", r#"{"z":1,"a":2}"#, &[r#"[{"key":"z","value":1},{"key":"a","value":2}]"#]);
    check("INDEX(.id)", r#"[{"id":1},{"id":2}]"#, &[r#"{"1":{"id":1},"2":{"id":2}}"#]);
}

#[test]
fn updating() {
    check(".a.b |= . + 1", r#"{"a":{"b":1}}"#, &[r#"{"a":{"b":2}}"#]);
    check(".a = 1, .a.b.c = 1, .[2] = 1", "null", &[r#"{"a":1}"#, r#"{"a":{"b":{"c":1}}}"#, "[null,null,1]"]);
    check(".a.b = 1", "{}", &[r#"{"a":{"b":1}}"#]);
    check(".[3] = 2", "[1]", &["[1,null,null,2]"]);
    check(
        ".n += 1, .n -= 1, .n *= 2, .n /= 2, .n %= 2, .m //= 5",
        r#"{"n":4}"#,
        &[r#"{"n":5}"#, r#"{"n":3}"#, r#"{"n":8}"#, r#"{"n":2}"#, r#"{"n":0}"#, r#"{"n":4,"m":5}"#],
    );
    check(
        "del(.a), del(.b.c), del(.l[0,2]), del(.l[] | select(. == 2))",
        r#"{"a":1,"l":[1,2,3]}"#,
        &[r#"{"l":[1,2,3]}"#, r#"{"a":1,"l":[1,2,3]}"#, r#"{"a":1,"l":[2]}"#, r#"{"a":1,"l":[1,3]}"#],
    );
    check("del(.b)", r#"{"a":1,"b":2,"c":3}"#, &[r#"{"a":1,"c":3}"#]);
    check(
        "(.[] | select(.on) | .n) |= 0",
        r#"[{"on":true,"n":1},{"on":false,"n":1}]"#,
        &[r#"[{"on":true,"n":0},{"on":false,"n":1}]"#],
    );
    check("map_values(select(. != null))", r#"{"a":1,"b":null}"#, &[r#"{"a":1}"#]);
    check("walk(if type == \"string\" then ascii_upcase else . end)", r#"["a",{"b":"c"}]"#, &[r#"["A",{"b":"C"}]"#]);
    check(".log += [{at: 1}]", "{}", &[r#"{"log":[{"at":1}]}"#]);
    check(
        "setpath([\"a\",0,\"b\"]; 5), getpath([\"x\",\"y\"]), delpaths([[\"x\"]])",
        r#"{"x":{"y":1}}"#,
        &[r#"{"x":{"y":1},"a":[{"b":5}]}"#, "1", "{}"],
    );
    check("pick(.a.b), pick(.l[1])", r#"{"a":{"b":1,"c":2},"l":[1,2]}"#, &[r#"{"a":{"b":1}}"#, r#"{"l":[null,2]}"#]);
    check(
        "[paths], [paths(type == \"number\")], [leaf_paths]",
        r#"{"a":[1]}"#,
        &[r#"[["a"],["a",0]]"#, r#"[["a",0]]"#, r#"[["a",0]]"#],
    );
    check(".[1:3] = [\"x\"]", "[1,2,3,4]", &[r#"[1,"x",4]"#]);
    check("to_entries | map(select(.value > 1)) | from_entries", r#"{"a":1,"b":2}"#, &[r#"{"b":2}"#]);
}

#[test]
fn gathering() {
    check(
        "map(.n) | add, (length), min, max, (add / length)",
        r#"[{"n":1},{"n":2},{"n":3}]"#,
        &["6", "3", "1", "3", "2"],
    );
    check("add, add(.[] | select(. > 1)), (map(tostring) | add)", "[1,2,3]", &["6", "5", "\"123\""]);
    check(
        "group_by(.k) | map({k: .[0].k, n: length})",
        r#"[{"k":"b"},{"k":"a"},{"k":"b"}]"#,
        &[r#"[{"k":"a","n":1},{"k":"b","n":2}]"#],
    );
    check(
        "sort_by(.p, -.q), sort_by(.p)[0].q",
        r#"[{"p":2,"q":1},{"p":1,"q":1},{"p":1,"q":2}]"#,
        &[r#"[{"p":1,"q":2},{"p":1,"q":1},{"p":2,"q":1}]"#, "1"],
    );
    check("unique, unique_by(. % 2), reverse, sort", "[3,1,3,2]", &["[1,2,3]", "[2,3]", "[2,3,1,3]", "[1,2,3,3]"]);
    check(
        "min_by(.n).id, max_by(.n).id",
        r#"[{"id":"a","n":2},{"id":"b","n":1},{"id":"c","n":2}]"#,
        &["\"b\"", "\"c\""],
    );
    check(
        "any, all, any(. > 2), all(. > 0), any(.[]; . == 1)",
        "[1,2,null]",
        &["true", "false", "false", "false", "true"],
    );
    check("reduce .[] as $x (0; . + $x), [foreach .[] as $x (0; . + $x; [$x, .])]", "[1,2]", &["3", "[[1,1],[2,3]]"]);
    check("flatten, flatten(1)", "[1,[2,[3]]]", &["[1,2,3]", "[1,2,[3]]"]);
    check(
        "[range(3)], [range(1;3)], [range(0;10;4)], [range(3;0;-1)], [range(1;2;0)]",
        "null",
        &["[0,1,2]", "[1,2]", "[0,4,8]", "[3,2,1]", "[]"],
    );
    check(
        "first, last, nth(1), first(.[] | select(. > 1)), [limit(2; .[])], [skip(1; .[])]",
        "[1,2,3]",
        &["1", "3", "2", "2", "[1,2]", "[2,3]"],
    );
    check("IN(1, 2), ([.] | IN([5])), (\"a\" | IN(\"b\"))", "2", &["true", "false", "false"]);
    check(
        "index(\"b\"), rindex(\"b\"), indices(\"b\"), (\"abc\" | contains(\"bc\")), inside(\"xabbax\")",
        "\"abba\"",
        &["1", "2", "[1,2]", "true", "true"],
    );
    check(
        "has(\"a\"), (.l | has(0)), (\"a\" as $k | has($k)), contains({l: [1]})",
        r#"{"a":null,"l":[1]}"#,
        &["true", "true", "true", "true"],
    );
    check(
        "[.[] | tostring], (.[0] | tojson), toarray",
        "[1,\"a\",null]",
        &[r#"["1","a","null"]"#, "\"1\"", "[1,\"a\",null]"],
    );
    check("transpose, combinations", "[[1,2],[3,4]]", &["[[1,3],[2,4]]", "[1,3]", "[1,4]", "[2,3]", "[2,4]"]);
    check("[tostream], fromstream(tostream)", r#"{"a":[1]}"#, &[r#"[[["a",0],1],[["a",0]],[["a"]]]"#, r#"{"a":[1]}"#]);
    check(
        "[limit(3; repeat(1))], [.[] | until(. > 100; . * 2)], [1 | while(. < 8; . * 2)]",
        "[3]",
        &["[1,1,1]", "[192]", "[1,2,4]"],
    );
    check("[recurse(if . < 2 then . + 1 else empty end)], label $f | (1, break $f, 2)", "0", &["[0,1,2]", "1"]);
    check("[splits(\", *\")], bsearch(\"z\")?, getpath([])", "\"a, b,c\"", &[r#"["a","b","c"]"#, "\"a, b,c\""]);
}

#[test]
fn text_and_formats() {
    check(
        "split(\",\"), split(\", *\"; null), (./\",\"), ascii_downcase, ascii_upcase, length, utf8bytelength",
        "\"A, é\"",
        &[r#"["A"," é"]"#, r#"["A","é"]"#, r#"["A"," é"]"#, "\"a, é\"", "\"A, é\"", "4", "5"],
    );
    check(
        "ltrimstr(\"x-\"), rtrimstr(\"-y\"), trimstr(\"x\"), startswith(\"x\"), endswith(\"y\")",
        "\"x-1-y\"",
        &["\"1-y\"", "\"x-1\"", "\"-1-y\"", "true", "true"],
    );
    check("trim, ltrim, rtrim", "\"  a \"", &["\"a\"", "\"a \"", "\"  a\""]);
    check(
        "test(\"B\"), test(\"B\"; \"i\"), test([\"B\", \"i\"]), [match(\"b+\"; \"g\").offset], capture(\"(?<l>[a-z])(?<n>[0-9])?\")",
        "\"abbab\"",
        &["false", "true", "true", "[1,4]", r#"{"l":"a","n":null}"#],
    );
    check(
        "sub(\"(?<x>b)\"; \"<\\(.x)>\"), gsub(\"b\"; \"\"), gsub(\"\"; \"-\"), [scan(\"b.\")]",
        "\"abba\"",
        &["\"a<b>ba\"", "\"aa\"", "\"-a-b-b-a-\"", r#"["bb"]"#],
    );
    check(
        "@csv, @tsv, @sh, @json, @text, @html, @uri, @base64",
        r#"["a\"b",1,null]"#,
        &[
            r#""\"a\"\"b\",1,""#,
            r#""a\"b\t1\t""#,
            r#""'a\"b' 1 null""#,
            r#""[\"a\\\"b\",1,null]""#,
            r#""[\"a\\\"b\",1,null]""#,
            r#""[&quot;a\\&quot;b&quot;,1,null]""#,
            r#""%5B%22a%5C%22b%22%2C1%2Cnull%5D""#,
            r#""WyJhXCJiIiwxLG51bGxd""#,
        ],
    );
    check(
        "@base64d, (\"a b\" | @uri), (\"a%20b\" | @urid), @base64 \"x\\(.)y\"",
        "\"aGk=\"",
        &["\"hi\"", "\"a%20b\"", "\"a b\"", "\"xYUdrPQ==y\""],
    );
    check("explode, (explode | implode)", "\"aé\"", &["[97,233]", "\"aé\""]);
    check(
        "tonumber, (\"1.50\" | tonumber), (\"-3\" | tonumber), (\"true\" | toboolean), tostring",
        "\"12\"",
        &["12", "1.5", "-3", "true", "\"12\""],
    );
    check("fromjson, tojson", r#""{\"a\":[1,2.50]}""#, &[r#"{"a":[1,2.5]}"#, r#""\"{\\\"a\\\":[1,2.50]}\"""#]);
    check("join(\"-\"), join(\"\")", r#"["a",1,null,true]"#, &["\"a-1--true\"", "\"a1true\""]);
}

#[test]
fn numbers_and_dates() {
    check(
        "7 / 2, 6 / 2, 7 % 3, -7 % 3, 5 % -2, 1e3, -(3), 0.1 + 0.2",
        "null",
        &["3.5", "3", "1", "-1", "1", "1000", "-3", "0.30000000000000004"],
    );
    check("floor, ceil, round, sqrt, fabs, trunc, (-. | abs)", "6.25", &["6", "7", "6", "2.5", "6.25", "6", "6.25"]);
    check(
        "pow(2; 10), log2, (100 | log10), exp10, infinite > 1, (nan | isnan)",
        "8",
        &["1024", "3", "2", "100000000", "true", "true"],
    );
    check(
        "9007199254740993 + 2, 9223372036854775807 + 1, (3 | . * 9223372036854775807)",
        "null",
        &["9007199254740995", "9223372036854775808", "2.7670116110564327e19"],
    );
    check(
        "todate, (todate | fromdate), strftime(\"%Y-%m-%d %H:%M\"), gmtime, (gmtime | mktime), strftime(\"%A, %d %B %Y, %j, week %V\")",
        "1425599621",
        &[
            "\"2015-03-05T23:53:41Z\"",
            "1425599621",
            "\"2015-03-05 23:53\"",
            "[2015,2,5,23,53,41,4,63]",
            "1425599621",
            "\"Thursday, 05 March 2015, 064, week 10\"",
        ],
    );
    check(
        "strptime(\"%Y-%m-%dT%H:%M:%SZ\"), (strptime(\"%Y-%m-%dT%H:%M:%SZ\") | mktime)",
        "\"2015-03-05T23:51:47Z\"",
        &["[2015,2,5,23,51,47,4,63]", "1425599507"],
    );
    check(
        "(. + 3600 | todate), (-1 | todate), (0.5 | gmtime[5])",
        "0",
        &["\"1970-01-01T01:00:00Z\"", "\"1969-12-31T23:59:59Z\"", "0.5"],
    );
}

#[test]
fn raising_and_catching() {
    check(
        "try error(\"x\") catch ., try error({code: 1}) catch .code, [.[] | try if . > 1 then error(\"no\") else . end catch 0]",
        "[1,2]",
        &["\"x\"", "1", "[1,0]"],
    );
    check("[.[] | (1 / .)?], (try error catch .)", "[1,0]", &["[1]", "[1,0]"]);
    check_error("error(\"drift \\(.d) is too high\")", r#"{"d":0.4}"#, "drift 0.4 is too high");
    check_error("error({code: 3})", "null", r#"{"code":3}"#);
    assert_eq!(run("error(null)", &json!(1)), Err("null".into()));
}
