//! Every rule: its name, how serious it is, and its page. A page is the only place that explains a rule; `cpd validate
//! --explain RULE` prints it, and a test runs its examples.

use crate::definition::Severity;

/// Something that the compiler or the linter may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name, the code of its diagnostics.
    pub id: &'static str,
    /// How serious it is, unless a caller says otherwise.
    pub severity: Severity,
    /// Its page, in Markdown.
    pub page: &'static str,
}

impl Rule {
    /// One sentence about it.
    pub fn summary(&self) -> &'static str {
        self.page.split("\n\n").nth(2).unwrap_or(self.id)
    }

    /// The text below a heading of its page.
    pub fn section(&self, heading: &str) -> Option<&'static str> {
        let (_, rest) = self.page.split_once(&format!("\n## {heading}\n\n"))?;
        Some(rest.split("\n## ").next().unwrap_or(rest).trim_end())
    }

    /// The definition below a heading of its page.
    pub fn example(&self, heading: &str) -> Option<&'static str> {
        let (_, rest) = self.section(heading)?.split_once("```yaml\n")?;
        rest.split("```").next()
    }
}

/// The rule of that name.
pub fn find(id: &str) -> Option<&'static Rule> {
    RULES.binary_search_by(|rule| rule.id.cmp(id)).ok().and_then(|i| RULES.get(i))
}

macro_rules! rules {
    ($($severity:ident $id:literal),* $(,)?) => {
        /// All of them, in order of name.
        pub static RULES: &[Rule] = &[$(Rule {
            id: $id,
            severity: Severity::$severity,
            page: include_str!(concat!("../../../../../docs/rules/", $id, ".md")),
        }),*];
    };
}

rules! {
    Warning "agent-not-pinned",
    Warning "agent-without-budget",
    Warning "argument-kind",
    Warning "backoff-without-delay",
    Error "bad-default",
    Error "bad-name",
    Error "bad-rego",
    Error "bad-schema",
    Error "bad-threshold",
    Error "bad-value",
    Error "bad-version",
    Warning "body-ignored",
    Warning "compete-with-effects",
    Error "computed-duration",
    Error "computed-method",
    Error "computed-policy",
    Error "computed-resource",
    Warning "constant-condition",
    Warning "context-before-export",
    Warning "cron-never-fires",
    Warning "deaf-listen",
    Error "document-too-large",
    Error "duplicate-case",
    Warning "duplicate-condition",
    Error "duplicate-key",
    Error "duplicate-task",
    Error "duplicate-variable",
    Error "empty",
    Error "empty-document",
    Warning "empty-extension",
    Error "empty-list",
    Error "empty-object",
    Warning "endless-loop",
    Error "endless-subscription",
    Warning "example-fails",
    Warning "fork-with-one-branch",
    Error "invalid-agent",
    Error "invalid-argument",
    Error "invalid-attribute",
    Error "invalid-cron",
    Error "invalid-duration",
    Error "invalid-endpoint",
    Error "invalid-error-type",
    Error "invalid-expression",
    Error "invalid-function",
    Error "invalid-name",
    Error "invalid-number",
    Error "invalid-pattern",
    Error "invalid-schema",
    Error "invalid-variable",
    Error "invalid-version",
    Error "invalid-yaml",
    Warning "listen-to-everything",
    Warning "listen-without-timeout",
    Warning "literal-text",
    Warning "loose-expressions",
    Warning "malformed-allow",
    Error "merge-key",
    Error "missing-argument",
    Error "missing-property",
    Error "missing-version",
    Error "nested-function",
    Warning "no-result",
    Error "no-task-keyword",
    Error "not-yet-supported",
    Error "out-of-range",
    Warning "overtaken-time",
    Warning "plain-credential",
    Warning "policy-without-examples",
    Error "resource-unavailable",
    Warning "retry-then-do",
    Warning "retry-without-delay",
    Warning "retry-without-limit",
    Warning "schedule-not-fired",
    Error "secret-in-data",
    Warning "secret-in-journal",
    Error "several-defaults",
    Error "several-documents",
    Warning "several-results",
    Error "several-task-keywords",
    Warning "shadowed-variable",
    Error "static-filter",
    Warning "swallowed-error",
    Warning "switch-without-default",
    Error "task-item",
    Error "task-name",
    Error "two-rules",
    Warning "unchanging-while",
    Error "undeclared-name",
    Error "unknown-agent",
    Error "unknown-argument",
    Error "unknown-authentication",
    Error "unknown-catalog",
    Error "unknown-document",
    Error "unknown-error",
    Error "unknown-operation",
    Warning "unknown-outcome",
    Error "unknown-policy",
    Error "unknown-property",
    Error "unknown-retry",
    Warning "unknown-rule",
    Error "unknown-secret",
    Error "unknown-target",
    Error "unknown-timeout",
    Error "unknown-value",
    Error "unknown-workflow",
    Warning "unreachable-task",
    Error "unsupported-dsl",
    Warning "unused-component",
    Warning "unused-parameter",
    Warning "useless-allow",
    Error "wrong-header",
    Error "wrong-shape",
    Error "wrong-type",
}
