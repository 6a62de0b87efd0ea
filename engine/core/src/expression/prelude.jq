# Filters defined in the language itself, written from the manual of jq 1.8. A definition may use those above it.
# Recursive definitions tick, so that no loop runs without fuel; all their recursive calls are tail calls.

def empty: {}[] as $x | .;
def error: error_empty as $x | .;
def error(message): (message | error_empty) as $x | .;
def select(f): if f then . else empty end;
def recurse(f): def rec: __tick | ., (f | rec); rec;
def recurse: recurse(.[]?);
def recurse(f; condition): recurse(f | select(condition));
def repeat(f): def rec: __tick | f, rec; rec;
def while(condition; update): def rec: __tick | if condition then ., (update | rec) else empty end; rec;
def until(condition; update): def rec: __tick | if condition then . else update | rec end; rec;
def range($from; $upto): range($from; $upto; 1);
def range($upto): range(0; $upto; 1);
def map(f): [.[] | f];
def map_values(f): .[] |= f;
def walk(f): .. |= f;
def isempty(g): first((g | false), true);
def all(g; condition): isempty(g | condition and empty);
def any(g; condition): isempty(g | condition or empty) | not;
def all(condition): all(.[]; condition);
def any(condition): any(.[]; condition);
def add(f): reduce f as $x (null; . + $x);
def first: .[0];
def last: .[-1];
def nth($i): .[$i];
def nth($n; g): if $n < 0 then error("nth doesn't support negative indices") else first(skip($n; g)) end;
def in(xs): . as $x | xs | has($x);
def inside(xs): . as $x | xs | contains($x);

def have_literal_numbers: true;
def have_decnum: false;

# Kinds.
def values: select(. != null);
def nulls: select(. == null);
def booleans: select(type == "boolean");
def numbers: select(type == "number");
def strings: select(type == "string");
def arrays: select(type == "array");
def objects: select(type == "object");
def iterables: select(type | . == "array" or . == "object");
def scalars: select(type | . != "array" and . != "object");
def isfinite: type == "number" and (isinfinite | not);
def finites: select(isfinite);
def normals: select(isnormal);

# Paths.
def paths: path(..) | select(length > 0);
def paths(f): path(.. | select(f)) | select(length > 0);
def del(f): delpaths([path(f)]);
def pick(f): . as $in | reduce path(f) as $p (null; setpath($p; $in | getpath($p)));
# Updates at paths that the interpreter does not update by itself: all at the paths found first, deletions last.
def _assign(p; $new): reduce path(p) as $p (.; setpath($p; $new));
def _modify(p; f):
  reduce path(p) as $p ([., []];
    [first(.[0] | getpath($p) | f)] as $new
    | if $new == [] then .[1] += [$p] else .[0] |= setpath($p; $new[0]) end)
  | .[1] as $gone | .[0] | delpaths($gone);
def leaf_paths: paths(scalars);
def tostream: path(def rec: __tick | (.[]? | rec), .; rec) as $p | getpath($p) | reduce path(.[]?) as $q ([$p, .]; [$p + $q]);
def fromstream(f):
  foreach f as $i ({x: null, e: false};
    (if .e then {x: null, e: false} else . end) |
    if ($i | length) == 2
    then .e = ($i[0] | length == 0) | .x = (.x | setpath($i[0]; $i[1]))
    else .e = ($i[0] | length == 1) end;
    if .e then .x else empty end);
def truncate_stream(f): . as $n | null | f | . as $i | if ($i[0] | length) > $n then [$i[0][$n:]] + $i[1:] else empty end;

# Arrays and objects.
def with_entries(f): to_entries | map(f) | from_entries;
def sort_by(f): _sort_by(map([f]));
def group_by(f): _group_by(map([f]));
def unique_by(f): _unique_by(map([f]));
def min_by(f): _min_by(map([f]));
def max_by(f): _max_by(map([f]));
def combinations: reduce .[] as $a ([[]]; [.[] as $head | $a[] | $head + [.]]) | .[];
def combinations(n): . as $dot | [range(n) | $dot] | combinations;
def INDEX(stream; f): reduce stream as $row ({}; .[$row | f | tostring] = $row);
def INDEX(f): INDEX(.[]; f);
def IN(s): any(s == .; .);
def IN(source; s): any(source == s; .);
def JOIN($index; f): [.[] | [., $index[f]]];
def JOIN($index; stream; f): stream | [., $index[f]];
def JOIN($index; stream; f; join): stream | [., $index[f]] | join;
# What `limit` and `skip` mean in a program; here they are the interpreter's own.
def _limit($n; f): if $n >= 0 then limit($n; f) else error("limit doesn't support negative count") end;
def _skip($n; f): if $n >= 0 then skip($n; f) else error("skip doesn't support negative count") end;

# Regular expressions. The pattern may be [pattern, flags].
def _flags($re): if ($re | type) == "array" then $re[1] else null end;
def _pattern($re):
  if ($re | type) == "string" then $re
  elif ($re | type) == "array" and ($re | length) > 0 then $re[0]
  else error(($re | type) + " not a string or array") end;
def match($re; $flags): _match($re; $flags; false)[];
def match($re): match(_pattern($re); _flags($re));
def test($re; $flags): _match($re; $flags; true);
def test($re): test(_pattern($re); _flags($re));
def _captured: reduce (.captures[] | select(.name != null)) as $c ({}; .[$c.name] = $c.string);
def capture($re; $flags): match($re; $flags) | _captured;
def capture($re): capture(_pattern($re); _flags($re));
def scan($re; $flags): match($re; "g" + $flags) | if (.captures | length) > 0 then [.captures[].string] else .string end;
def scan($re): scan($re; null);
def splits($re; $flags): . as $in
  | foreach (match($re; $flags + "g"), null) as $m ({next: 0};
      .start = .next | if $m then .end = $m.offset | .next = $m.offset + $m.length else .end = null end;
      . as $span | $in[$span.start:$span.end]);
def splits($re): splits($re; null);
def split($re; $flags): [splits($re; $flags)];
# Several outputs of the replacement make several strings: the first ones together, the second ones together, and so on.
def sub($re; f; $flags): . as $in
  | [match($re; $flags)] as $found
  | if $found == [] then $in else
      (reduce $found[] as $m ({result: [], next: 0};
        $in[.next:$m.offset] as $gap
        | [$m | _captured | f] as $new
        | reduce range($new | length) as $i (.; .result[$i] += $gap + $new[$i])
        | .next = $m.offset + $m.length))
      | if .result == [] then $in else .result[] + $in[.next:] end
    end;
def sub($re; f): sub($re; f; "");
def gsub($re; f; $flags): sub($re; f; $flags + "g");
def gsub($re; f): sub($re; f; "g");

# Dates.
def todate: strftime("%Y-%m-%dT%H:%M:%SZ");
def fromdate: strptime("%Y-%m-%dT%H:%M:%SZ") | mktime;
def todateiso8601: todate;
def fromdateiso8601: fromdate;
def date: todate;
def dateadd(unit; $n): . + $n;
def datesub(unit; $n): . - $n;
