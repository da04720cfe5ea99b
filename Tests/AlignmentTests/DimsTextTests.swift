import Alignment
import TestSupport
import Testing

@Suite("SGLang dims text")
struct DimsTextTests {
  @Test("every form of the grammar is read")
  func forms() throws {
    let dims = try DimsText(
      "t[cp:zigzag,sp:natural+sharded]  (heads*dim)[tp] 1 h[ep:partial] # dp:=moe_dp etp:replicated")
    #expect(dims.dimensions.map(\.names) == [["t"], ["heads", "dim"], [], ["h"]])
    #expect(
      dims.dimensions[0].modifiers == [DimsText.Modifier(axis: .cp, isZigzag: true), DimsText.Modifier(axis: .sp)])
    #expect(dims.dimensions[1].modifiers == [DimsText.Modifier(axis: .tp)])
    #expect(dims.dimensions[2].isSqueezed)
    #expect(dims.dimensions[3].modifiers == [DimsText.Modifier(axis: .ep, isPartial: true)])
    #expect(dims.replicated == [.etp])
    #expect(dims.dataParallelAlias == "moe_dp")
    let plain = try DimsText("\tb s _h2 ")
    #expect(plain.dimensions.map(\.names) == [["b"], ["s"], ["_h2"]])
    #expect(plain.sharded.isEmpty)
    for axis in DimsText.ParallelAxis.allCases {
      #expect(try DimsText("h[\(axis.rawValue)]").sharded.map(\.axis) == [axis])
    }
  }

  @Test(
    "every error says what is wrong, where, and how to mend it",
    arguments: [
      ("", 1, "names no dimension"), ("  # tp:replicated", 1, "names no dimension"),
      ("t t", 3, "twice"), ("t (h*t)", 3, "the dimension t is there twice"),
      ("t h[tp,tp]", 8, "tp is there twice on one dimension"), ("t[tp] h[tp]", 7, "shards two dimensions"),
      ("t h[tpp]", 5, "unknown parallel axis “tpp”; one of tp, cp"), ("t[attn_cp]", 3, "unknown parallel axis"),
      ("t[pp]", 3, "unknown parallel axis"), ("t h[]", 5, "a parallel axis is missing"),
      ("t h[tp:]", 8, "unknown qualifier “”"), ("t h[tp:twice]", 8, "one of zigzag, natural, partial, sharded"),
      ("t[cp:zigzag+natural]", 13, "two orders, zigzag and natural"),
      ("h[tp:partial+sharded]", 14, "exclude each other"), ("h[tp:replicated]", 6, "write “# tp:replicated”"),
      ("h[cp:zigzag]", 1, "only the dimensions t and s"), ("t[cp:zigzag+partial]", 3, "partial has none"),
      ("t h(tp)", 3, "write h[tp]"), ("t h[tp, sp]", 4, "no space may stand inside brackets"),
      ("t h[tp", 4, "close them"), ("t (a * b)", 3, "no space may stand inside parentheses"),
      ("t (a*b", 3, "close them"), ("t (a)", 3, "fuses one dimension only; write a without"),
      ("t 2h", 3, "is no name"), ("t h-x", 3, "is no name"), ("1[tp]", 1, "size 1 cannot be sharded"),
      ("(1*h)", 2, "size 1 cannot be sharded or fused"), ("t h]", 3, "is no name"), ("t (a*b)x", 8, "does not belong"),
      ("t h # ", 5, "nothing stands after #"), ("t h # tp", 7, "is no declaration"),
      ("t h # tp:partial", 7, "is no declaration"), ("t h # tpp:replicated", 7, "unknown parallel axis"),
      ("t h[tp] # tp:replicated", 11, "shards a dimension and is declared replicated"),
      ("t # tp:replicated tp:replicated", 19, "twice"), ("t # dp:=", 5, "dp:= names no axis"),
      ("t # dp:=a dp:=b", 11, "dp:= is there twice"), ("t # dp:=a-b", 5, "dp:= names no axis"),
    ])
  func errors(text: String, column: Int, message: String) throws {
    let error = #expect(throws: AlignmentError.self) { _ = try DimsText(text) }
    #expect(error?.code == .malformedDims)
    #expect(error?.place.hasSuffix("column \(column)") == true, "\(error?.description ?? "")")
    #expect(error?.message.contains(message) == true, "\(error?.description ?? "")")
  }

  @Test("long and odd texts end")
  func odd() {
    let long = String(repeating: "a ", count: 5000)
    #expect(throws: AlignmentError.self) { _ = try DimsText(long) }
    var dice = SplitMix64(seed: 7)
    let letters = Array("tsh1([*])#:,+=_ cp\u{301}é\u{0}")
    for _ in 0..<3000 {
      let text = String(
        (0..<Int.random(in: 0..<24, using: &dice)).map { _ in letters.randomElement(using: &dice) ?? "t" })
      do { _ = try DimsText(text) } catch { #expect(!error.message.isEmpty) }
    }
  }
}
