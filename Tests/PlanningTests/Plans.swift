import Planning

/// The problems of a job text, one `line:column: message` each, with the suggestion in brackets.
func problems(_ text: String, cellLimit: Int = Planner.defaultCellLimit) -> [String] {
  do {
    _ = try Planner.plan(text: text, path: "job.yaml", cellLimit: cellLimit)
    return []
  } catch {
    return error.problems.map { problem in
      "\(problem.line):\(problem.column): \(problem.message)" + (problem.suggestion.map { " [\($0)]" } ?? "")
    }
  }
}

/// A plan whose job file has this matrix and a plain command.
func plan(matrix: String, rest: String = "") throws -> Plan {
  try Planner.plan(
    text: "name: t\nmatrix: \(matrix)\nrun: {command: echo}\n\(rest)", path: "job.yaml")
}
