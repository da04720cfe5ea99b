/// Everything that is wrong with a job or fleet file, found in one pass.
public struct PlanningError: Error, Sendable, Hashable, CustomStringConvertible {
  public enum Code: String, Sendable, Hashable, Codable {
    /// The file cannot be read, is too large, or is not UTF-8.
    case unreadable
    /// Not YAML.
    case syntax
    /// YAML, but not a valid file of its kind.
    case invalid
  }

  /// One problem and its place.
  public struct Problem: Sendable, Hashable, Codable {
    /// From 1; 0 where the whole file is meant.
    public var line: Int
    /// From 1, in Unicode scalars.
    public var column: Int
    /// Keys down to the value: `run.env.PATH`, `matrix.exclude[0].backend`.
    public var path: String
    /// What is wrong and how to mend it.
    public var message: String
    /// The nearest valid word.
    public var suggestion: String?

    public init(line: Int, column: Int, path: String, message: String, suggestion: String? = nil) {
      self.line = line
      self.column = column
      self.path = path
      self.message = message
      self.suggestion = suggestion
    }
  }

  public var code: Code
  /// The file as the user named it.
  public var file: String
  /// In the order of the file; never empty.
  public var problems: [Problem]

  public init(code: Code, file: String, problems: [Problem]) {
    self.code = code
    self.file = file
    self.problems = problems
  }

  /// One line a problem: `file:line:column: message; did you mean `x`?`
  public var description: String {
    problems.map { problem in
      var text = file
      if problem.line > 0 { text += ":\(problem.line):\(problem.column)" }
      text += ": \(problem.message)"
      if let suggestion = problem.suggestion { text += "; did you mean `\(suggestion)`?" }
      return text
    }.joined(separator: "\n")
  }
}
