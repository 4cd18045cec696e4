//! Which regular expressions Envoy takes. One that it refuses would cost every service whose
//! routes are in the same route configuration, so it must be found before.

use regex_syntax::ast::{
    self, Ast, ClassSetBinaryOp, ClassSetItem, ClassUnicode, ClassUnicodeKind, Flag, Flags,
    FlagsItemKind, GroupKind, HexLiteralKind, Literal, LiteralKind, Repetition, RepetitionKind,
    RepetitionRange, Visitor,
};
use regex_syntax::ast::{AssertionKind, parse::Parser};

/// Checks an expression for Envoy's RE2 (<https://github.com/google/re2/wiki/Syntax>).
///
/// What both RE2 and Rust's syntax know is taken; a few rare forms that only RE2 knows are not.
///
/// # Errors
/// Why it would be refused.
pub fn check(regex: &str) -> Result<(), String> {
    if regex.is_empty() {
        return Err("is empty".to_owned());
    }
    let ast = Parser::new().parse(regex);
    let ast = ast.map_err(|error| format!("is no regular expression: {}", error.kind()))?;
    let size = ast::visit(&ast, Re2::default())
        .map_err(|what| format!("has {what}, which Envoy does not take"))?;
    if size > SIZE_MAX {
        return Err(format!(
            "is too large: about {size} steps of at most {SIZE_MAX}"
        ));
    }
    Ok(())
}

/// Counts the steps of the compiled program, as if every repetition were written out.
#[derive(Default)]
struct Re2 {
    /// Steps so far, below each repetition that is being visited.
    sizes: Vec<usize>,
    size: usize,
    /// How often the expression at hand is written out.
    copies: Vec<usize>,
}

impl Visitor for Re2 {
    type Output = usize;
    type Err = &'static str;

    fn finish(self) -> Result<usize, &'static str> {
        Ok(self.size)
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), &'static str> {
        self.size = self.size.saturating_add(STEPS_PER_NODE);
        match ast {
            Ast::Flags(set) => flags(&set.flags),
            Ast::Group(group) => match &group.kind {
                GroupKind::NonCapturing(set) => flags(set),
                GroupKind::CaptureName { name, .. } => {
                    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
                    match name.name.chars().all(is_word) {
                        true => Ok(()),
                        false => Err("a group whose name is no word"),
                    }
                }
                GroupKind::CaptureIndex(_) => Ok(()),
            },
            Ast::Assertion(assertion) => match assertion.kind {
                AssertionKind::StartLine
                | AssertionKind::EndLine
                | AssertionKind::StartText
                | AssertionKind::EndText
                | AssertionKind::WordBoundary
                | AssertionKind::NotWordBoundary => Ok(()),
                _ => Err("an assertion of a half word boundary"),
            },
            Ast::Literal(one) => literal(one),
            Ast::ClassPerl(_) => {
                self.size = self.size.saturating_add(STEPS_PER_PERL_CLASS);
                Ok(())
            }
            Ast::ClassUnicode(class) => {
                self.size = self.size.saturating_add(STEPS_PER_UNICODE_CLASS);
                unicode(class)
            }
            Ast::Repetition(repetition) => {
                if matches!(*repetition.ast, Ast::Repetition(_)) {
                    return Err("a repetition of a repetition");
                }
                written(repetition)?;
                let count = count(&repetition.op.kind);
                let before = self.copies.last().copied().unwrap_or(1);
                let copies = before.saturating_mul(count.max(1));
                if copies > COPIES_MAX {
                    return Err("a repetition of more than 1000 times");
                }
                self.copies.push(copies);
                self.sizes.push(std::mem::take(&mut self.size));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn visit_post(&mut self, ast: &Ast) -> Result<(), &'static str> {
        if let Ast::Repetition(repetition) = ast {
            self.copies.pop();
            let copied = (self.size + 1).saturating_mul(count(&repetition.op.kind).max(1));
            self.size = self.sizes.pop().unwrap_or(0).saturating_add(copied);
        }
        Ok(())
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), &'static str> {
        self.size = self.size.saturating_add(STEPS_PER_NODE);
        match item {
            ClassSetItem::Literal(one) => literal(one),
            ClassSetItem::Range(range) => literal(&range.start).and_then(|()| literal(&range.end)),
            ClassSetItem::Perl(_) => {
                self.size = self.size.saturating_add(STEPS_PER_PERL_CLASS);
                Ok(())
            }
            ClassSetItem::Unicode(class) => {
                self.size = self.size.saturating_add(STEPS_PER_UNICODE_CLASS);
                unicode(class)
            }
            ClassSetItem::Bracketed(_) => Err("a class within a class"),
            _ => Ok(()),
        }
    }

    fn visit_class_set_binary_op_pre(&mut self, _: &ClassSetBinaryOp) -> Result<(), &'static str> {
        Err("an operation on classes")
    }
}

fn count(kind: &RepetitionKind) -> usize {
    let count = match kind {
        RepetitionKind::Range(
            RepetitionRange::Exactly(count)
            | RepetitionRange::AtLeast(count)
            | RepetitionRange::Bounded(_, count),
        ) => *count,
        _ => 1,
    };
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// RE2 reads `{ 2 }` as the characters that stand there.
fn written(repetition: &Repetition) -> Result<(), &'static str> {
    let op = &repetition.op;
    let RepetitionKind::Range(range) = &op.kind else {
        return Ok(());
    };
    let usual = match range {
        RepetitionRange::Exactly(count) => format!("{{{count}}}"),
        RepetitionRange::AtLeast(least) => format!("{{{least},}}"),
        RepetitionRange::Bounded(least, most) => format!("{{{least},{most}}}"),
    };
    let greed = usize::from(!repetition.greedy);
    match op.span.end.offset - op.span.start.offset == usual.len() + greed {
        true => Ok(()),
        false => Err("a repetition in an unusual spelling"),
    }
}

fn flags(set: &Flags) -> Result<(), &'static str> {
    let known = set.items.iter().all(|item| match &item.kind {
        FlagsItemKind::Negation => true,
        FlagsItemKind::Flag(flag) => matches!(
            flag,
            Flag::CaseInsensitive | Flag::MultiLine | Flag::DotMatchesNewLine | Flag::SwapGreed
        ),
    });
    known.then_some(()).ok_or("a flag other than i, m, s and U")
}

fn literal(literal: &Literal) -> Result<(), &'static str> {
    match literal.kind {
        // It would be several bytes, and Envoy's expressions are about bytes.
        LiteralKind::Verbatim if !literal.c.is_ascii() => {
            Err("a character beyond ASCII (paths have it percent-encoded)")
        }
        LiteralKind::HexFixed(HexLiteralKind::UnicodeShort | HexLiteralKind::UnicodeLong)
        | LiteralKind::HexBrace(HexLiteralKind::UnicodeShort | HexLiteralKind::UnicodeLong) => {
            Err("an escape \\u or \\U")
        }
        LiteralKind::HexBrace(HexLiteralKind::X) if u32::from(literal.c) > BYTE_MAX => {
            Err("an escape \\x of more than one byte")
        }
        _ => Ok(()),
    }
}

fn unicode(class: &ClassUnicode) -> Result<(), &'static str> {
    match &class.kind {
        ClassUnicodeKind::OneLetter(_) => Ok(()),
        ClassUnicodeKind::Named(name) if name.len() <= 2 => Ok(()),
        _ => Err("a Unicode class that is no general category of one or two letters"),
    }
}

/// RE2's own limit for nested counted repetitions.
const COPIES_MAX: usize = 1_000;
/// Half of what the bootstrap allows RE2 (`re2.max_program_size.error_level`): this is an estimate.
const SIZE_MAX: usize = 5_000;
/// No literal, class range or operator needs more.
const STEPS_PER_NODE: usize = 2;
/// `\W` is five ranges of bytes; the node itself counts too.
const STEPS_PER_PERL_CLASS: usize = 3;
/// RE2 writes out the ranges of such a class; Envoy compiles for single bytes, so they are few.
const STEPS_PER_UNICODE_CLASS: usize = 8;
const BYTE_MAX: u32 = 0xff;

#[cfg(test)]
mod tests {
    use super::*;

    /// Each outcome was seen with a real Envoy 1.40.
    #[track_caller]
    fn verify(regex: &str, expect: Result<(), &str>) {
        let found = check(regex);
        match expect {
            Ok(()) => assert_eq!(found, Ok(()), "{regex}"),
            Err(part) => assert!(found.is_err_and(|why| why.contains(part)), "{regex}"),
        }
    }

    #[test]
    fn what_paths_are_matched_with_is_taken() {
        for regex in [
            "^/b[io]t$",
            "/v[0-9]{1,3}/[a-z0-9-]{1,63}/[^/]+",
            r"/(?i)img/\d+\.(png|jpe?g)",
            r"(?P<name>\w+)\x2f[[:alpha:]]*?",
            "a{3}?b{2,}?c{1,4}?d{5}e{6,}",
            r"\A/\p{L}\pN/(?:a|b){2,}\z",
        ] {
            verify(regex, Ok(()));
        }
    }

    #[test]
    fn what_envoy_refuses_is_refused() {
        for (regex, why) in [
            ("", "is empty"),
            ("/a(b", "unclosed group"),
            ("(?=a)", "look-around"),
            ("/a{1001}", "1000 times"),
            ("(/[a-z]{1,100}){1,100}", "1000 times"),
            ("a**", "repetition of a repetition"),
            ("(?x) a b", "flag"),
            (r"\u{41}", "escape"),
            (r"\x{10FFFF}", "escape"),
            (r"\p{Letter}", "Unicode class"),
            (r"[\w--\d]", "operation on classes"),
            ("[a[b]]", "class within a class"),
            (r"\b{start}a", "half word boundary"),
            (&r"\W".repeat(1_001), "too large"),
            ("a{,3}", "no regular expression"),
            ("a{ 3 }", "unusual spelling"),
            ("(?P<a.b>c)", "name is no word"),
            ("/[é]+", "beyond ASCII"),
            ("[a-z0-9][a-z0-9]{900}[a-z0-9]{900}", "too large"),
        ] {
            verify(regex, Err(why));
        }
    }
}
