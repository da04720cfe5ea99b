/// The stacks of layers of a model that has several: `vision_model.encoder` and `language_model`, `encoder` and
/// `decoder`, a draft model beside its target.
///
/// Each counts its layers from 0, so a layer's number alone says neither what ran after what nor which stages belong
/// together. A stack is known by the components of its path that models call it by; where all layers are of one stack
/// there are no towers.
public struct Towers: Sendable {
  /// The stacks that hold layers, in the order in which they run; nil for layers under no name of a stack.
  public let all: [String?]
  private let named: Set<String>

  public init(_ keys: some Sequence<CaptureKey>) {
    var isMainSeen = false
    var found: Set<String> = []
    var alone: Set<String> = []
    for key in keys where key.layer != nil {
      guard let path = Self.path(of: key.stage) else {
        isMainSeen = true
        continue
      }
      // A class may be called `decoder`: it is a stack only where it holds stages.
      if path.count == key.stage.utf8.count { alone.insert(path) } else { found.insert(path) }
    }
    if !alone.isSubset(of: found) { isMainSeen = true }
    guard found.count + (isMainSeen ? 1 : 0) > 1 else {
      (all, named) = ([], [])
      return
    }
    named = found
    let order = (found.map(Optional.some) + (isMainSeen ? [nil] : [])).map { (name: $0, ranks: Self.ranks(of: $0)) }
    all = order.sorted { left, right in
      left.ranks == right.ranks
        ? (left.name ?? "") < (right.name ?? "") : left.ranks.lexicographicallyPrecedes(right.ranks)
    }.map(\.name)
  }

  /// The stack of a stage in a layer; nil where it is under no name of one, or there is only one.
  public func tower(ofLayered stage: String) -> String? {
    guard !named.isEmpty, let path = Self.path(of: stage), named.contains(path) else { return nil }
    return path
  }

  /// The place in ``all`` of the stack to which a stage outside of layers belongs; nil where it belongs to the whole.
  ///
  /// - Parameter isLate: whether it runs after the stacks that its path holds.
  public func place(ofLoose stage: String, isLate: Bool) -> Int? {
    guard !named.isEmpty, let path = Self.path(of: stage) else { return nil }
    let places = all.indices.filter { index in
      all[index].map { $0 == path || $0.hasPrefix(path + ".") || path.hasPrefix($0 + ".") } ?? false
    }
    return isLate ? places.last : places.first
  }

  /// Whether a stage outside of all stacks brings the output of one to the next.
  public static func isConnector(_ stage: String) -> Bool {
    let name = stage.lowercased()
    return ["projector", "connector", "merger", "resampler", "mm_proj", "adapter"].contains { name.contains($0) }
  }

  /// What follows the path of a stack in a stage's name; the whole where it names none.
  public static func within(_ stage: String) -> Substring {
    guard let path = path(of: stage) else { return stage[...] }
    return stage.dropFirst(path.count).drop { $0 == "." }
  }

  private static let encoders: Set<String> = [
    "encoder", "visual", "vision", "vision_model", "vision_tower", "vision_encoder", "image_encoder", "audio_tower",
    "audio_model", "audio_encoder", "speech_encoder", "text_encoder",
  ]
  private static let decoders: Set<String> = [
    "decoder", "language_model", "text_model", "thinker", "target_model", "talker", "draft", "draft_model",
  ]
  private static let later: Set<String> = ["talker", "draft", "draft_model"]

  /// The path down to the last component that names a stack.
  private static func path(of stage: String) -> String? {
    // Asked for every row: most names have no such component at all.
    guard stage.utf8.contains(where: { $0 == UInt8(ascii: ".") }) || isName(stage) else { return nil }
    let parts = stage.split(separator: ".", omittingEmptySubsequences: false)
    guard let last = parts.lastIndex(where: { isName(String($0)) }) else { return nil }
    return parts[...last].joined(separator: ".")
  }

  private static func isName(_ part: String) -> Bool { encoders.contains(part) || decoders.contains(part) }

  /// One figure for each name of a stack in the path; what encodes runs before what reads it, a draft after both.
  private static func ranks(of path: String?) -> [Int] {
    guard let path else { return [1] }
    return path.split(separator: ".").map(String.init).filter(isName).map { name in
      encoders.contains(name) ? 0 : later.contains(name) ? 2 : 1
    }
  }
}

/// One layer of one stack; the places outside of layers have no number.
public struct TowerLayer: Sendable, Hashable {
  public var tower: String?
  public var layer: Int?

  public init(tower: String?, layer: Int?) {
    self.tower = tower
    self.layer = layer
  }
}
