public import OrderedCollections
public import Planning

/// What a playbook looks into: the job, the cell under suspicion, and the one that is trusted.
public struct Subject: Sendable, Hashable {
  public typealias Values = OrderedDictionary<String, AxisValue>

  public let plan: Plan
  public let spec: PlaybookSpec
  /// All axes of the cell under suspicion.
  public let target: Values
  /// nil: the reference is no cell of the job (a path, the golden run).
  public let reference: Values?

  /// - Throws: `PlaybookError` where the job has no such cell, or compares nothing.
  public init(_ plan: Plan) throws(PlaybookError) {
    self.plan = plan
    spec = plan.playbook ?? PlaybookSpec()
    let references = plan.referenceCells()
    let suspects = plan.cells.filter { references[$0.id]?.id != $0.id }
    let wanted = spec.target ?? [:]
    guard let cell = suspects.last(where: { cell in wanted.allSatisfy { cell.values[$0.key] == $0.value } }) else {
      throw PlaybookError(
        wanted.isEmpty
          ? "The job \(plan.name) has no cell but the reference: nothing is under suspicion. "
            + "Give its matrix a second value, world_size for instance."
          : "No cell of the job \(plan.name) has the values of `playbook.target` and is not the reference.")
    }
    guard plan.compare.mode == .slots || plan.compare.reference != nil else {
      throw PlaybookError("The job \(plan.name) compares nothing: it needs `compare.reference`.")
    }
    target = cell.values
    reference = references[cell.id]?.values
  }

  /// The cells that one question needs: the reference and the target.
  public var cells: [Values] { (reference.map { [$0] } ?? []) + [target] }

  /// A component, on or off.
  func change(_ name: String, on: Bool) -> RunChange {
    guard let component = spec.components[name] else { return RunChange() }
    return on ? component.on : component.off
  }
}

/// A job that a playbook cannot work with: one sentence that says what is missing and where.
public struct PlaybookError: Error, Sendable, Hashable, CustomStringConvertible {
  public var message: String

  public init(_ message: String) { self.message = message }

  public var description: String { message }
}
