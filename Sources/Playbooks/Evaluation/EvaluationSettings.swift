public import Planning

/// What an evaluation is, as far as its figures cannot be read off its samples.
public struct EvaluationSettings: Sendable, Hashable, Codable {
  public typealias Task = EvaluationSpec.Task

  public var task: Task?
  /// Answers to choose from; nil: told by the references where these are letters or yes and no.
  public var choices: Int?
  /// A drop by less than this is no bug worth looking for; a larger one must be ruled out for a PASS.
  public var margin: Double

  public init(task: Task? = nil, choices: Int? = nil, margin: Double = 0.05) {
    self.task = task
    self.choices = choices
    self.margin = margin
  }

  public init(_ spec: EvaluationSpec) {
    self.init(task: spec.task, choices: spec.choices, margin: spec.margin)
  }
}
