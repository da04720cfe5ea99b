extension DumpSet {
  /// Gives files that every call wrote anew a stage of their own, `Block[last call]`, where files with call numbers
  /// stand beside them: they are none of those calls, and must not be taken for one that was not chosen.
  mutating func setLastCallsApart() {
    struct Place: Hashable {
      var layer: Int?
      var stage: String
    }
    guard captures.contains(where: \.holdsLastCall) else { return }
    let counted = Set(captures.filter { $0.call != nil }.map { Place(layer: $0.layer, stage: $0.stage) })
    for index in captures.indices where captures[index].holdsLastCall {
      let capture = captures[index]
      if counted.contains(Place(layer: capture.layer, stage: capture.stage)) { captures[index].stage += "[last call]" }
    }
  }
}
