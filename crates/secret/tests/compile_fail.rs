//! What must not compile, with the words in which the compiler says so.

#[test]
fn the_compiler_refuses() {
    trybuild::TestCases::new().compile_fail("tests/refused_by_compiler/*.rs");
}
