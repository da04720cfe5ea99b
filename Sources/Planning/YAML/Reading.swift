/// What a reader has found wrong so far, and where it stands.
struct Reading {
  enum Templates {
    /// `${{ }}` has no place here.
    case refused
    /// Values with `${{ }}` are not known yet: their type is checked once they are.
    case skipped
    /// They have been replaced.
    case replaced
  }

  var templates = Templates.refused
  /// True inside `overrides`: required keys stand elsewhere.
  var isPartial = false
  private(set) var path: [String] = []
  private(set) var problems: [PlanningError.Problem] = []
  private var seen: Set<String> = []

  mutating func report(_ place: Place, _ message: String, suggestion: String? = nil) {
    let problem = PlanningError.Problem(
      line: place.line, column: place.column, path: pathText, message: message, suggestion: suggestion)
    // What one part of the file does wrong in many cells is said once.
    if seen.insert("\(place.line):\(place.column): \(message)").inserted { problems.append(problem) }
  }

  /// Whether the job file has a key that stands where `section`, spelt right, would.
  func hasMisspelt(section: String) -> Bool { problems.contains { $0.path.isEmpty && $0.suggestion == section } }

  mutating func within<Value>(_ key: String, _ body: (inout Reading) -> Value) -> Value {
    path.append(key)
    defer { path.removeLast() }
    return body(&self)
  }

  private var pathText: String {
    path.reduce("") { $1.hasPrefix("[") || $0.isEmpty ? $0 + $1 : $0 + "." + $1 }
  }

  /// In the order of the file, at most 100.
  func throwIfAny(file: String) throws(PlanningError) {
    guard !problems.isEmpty else { return }
    var sorted = problems.sorted {
      ($0.line, $0.column, $0.message) < ($1.line, $1.column, $1.message)
    }
    if sorted.count > 100 {
      let more = sorted.count - 100
      sorted.removeLast(more)
      sorted.append(.init(line: 0, column: 0, path: "", message: "\(more) more problems are not shown"))
    }
    throw PlanningError(code: .invalid, file: file, problems: sorted)
  }
}
