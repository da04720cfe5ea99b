/// Which class of layers is wrong: a stage whose input agrees (or is no further off) and whose output is not.
public enum LayerPattern {
  /// In words; nil where fewer than two layers are wrong by themselves.
  ///
  /// - Parameters:
  ///   - wrong: layers in which the stage itself adds a jump.
  ///   - all: layers in which the stage was compared with its input.
  public static func describe(stage: String, wrong: Set<Int>, all: Set<Int>) -> String? {
    guard wrong.count > 1 else { return nil }
    let layers = wrong.sorted()
    let right = all.subtracting(wrong).sorted()
    let head = "\(stage) goes wrong by itself in layer \(listed(layers))"
    guard let first = layers.first, let last = layers.last else { return nil }
    if right.isEmpty { return "\(head): in every layer that has it, so the fault is in the class, not in one layer" }
    if right.allSatisfy({ $0 < first }) {
      return "\(head): from layer \(first) on, the first \(first) layers are of another class"
    }
    if right.allSatisfy({ $0 > last }) { return "\(head): only in the first \(last + 1) layers" }
    let steps = Set(zip(layers, layers.dropFirst()).map { $1 - $0 })
    if let step = steps.first, steps.count == 1, step > 1 {
      return "\(head): every \(step)th layer, a class of its own"
    }
    return head
  }
}
