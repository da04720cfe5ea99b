/// What a dump file's name says.
struct DumpFileName: Equatable {
  /// What the names of the file's tensors mean.
  enum Tensors: Equatable {
    /// Values of the file's layer and stage.
    case values
    /// Each name is a stage of its own, whose tensor is `hidden` (``TensorPlace/init(stage:)``): a bundle.
    case stages
    /// Layer and stage are those of ``TensorPlace``, then of `stem`, where the file's name does not know them.
    case placed(stem: String, isStageKnown: Bool)
  }

  var rank: Int
  var layer: Int?
  /// The module's class; `weights` for weight files.
  var stage: String
  var call: Int?
  /// Whether every call writes this file anew, so that it holds the last one; else a file without a call number is the
  /// first call's.
  var holdsLastCall = false
  /// What the tensor `hidden` of this file is called in a capture: `hidden`, or `input` for what went in.
  var hiddenName = "hidden"
  var tensors = Tensors.values
}

extension DumpFileName {
  /// Any file of tensors: `.safetensors`, `.npy`, `.npz`.
  ///
  /// A name as ATOM gives it, but for the extension, is read so. Else the rank is that of ``RankMark``, and the rest
  /// of the path is the stage of tensors whose names say none.
  init(anyFile entry: DirectoryWalk.Entry) {
    if let name = DumpFileName(forward: entry.name.withoutExtension + ".pt"), name.tensors == .values {
      self = name
      return
    }
    let (path, call) = Self.takingCall(entry.path.withoutExtension)
    let mark = RankMark(path)
    self.init(
      rank: mark.rank, layer: nil, stage: "", call: call, tensors: .placed(stem: mark.rest, isStageKnown: false))
  }

  /// A path without the `_call{N}` at its end, where that stands behind a rank, as in ATOM's names. Else it is part of a
  /// name (`sys_call2`).
  private static func takingCall(_ path: String) -> (path: String, call: Int?) {
    var stem = path[...]
    guard let call = stem.trimSuffix("_call") else { return (path, nil) }
    var rest = stem
    guard ["rank", "rank_", "rank="].contains(where: { rest.trimSuffix($0) != nil }) else { return (path, nil) }
    return (String(stem), call)
  }

  /// Layer, stage and name of one of the file's tensors.
  func place(of tensor: String) -> (layer: Int?, stage: String, tensor: String) {
    switch tensors {
    case .values: return (layer, stage, tensor == "hidden" ? hiddenName : tensor)
    case .stages:
      let place = TensorPlace(stage: tensor)
      return (place.layer, place.stage ?? tensor, "hidden")
    case .placed(_, true): return (layer, stage, tensor)
    case .placed(let stem, false):
      let own = TensorPlace(tensor)
      if let stage = own.stage { return (layer ?? own.layer, stage, own.tensor) }
      let file = TensorPlace(stage: stem)
      return (layer ?? own.layer ?? file.layer, file.stage ?? stem, own.tensor)
    }
  }
}

extension DumpFileName {
  /// A forward dump:
  ///
  /// - `layer{L}_{Class}_rank{R}[_call{N}].pt`; without a class it is `Block`, as in the first dumps.
  /// - `{side}_layer{L}_{Class}__{stage}_rank{R}.pt`, written by patches of a reference model. Its built-in stages
  ///   are joined with the files of the first kind: `hidden_out` and `out` are the class's `hidden`, `hidden_in` its
  ///   `input`; another stage stands for itself as `Class.stage`.
  ///
  /// - `atom_rank{R}_fwd.pt` and `ref_rank{R}_fwd.pt`: a bundle, whose tensors are named `layer{L}.{stage}`.
  ///
  /// The rank is the last `_rank` of the name, so that a class may be called `A_rank1`.
  init?(forward name: String) {
    guard name.hasSuffix(".pt") else { return nil }
    var stem = name.dropLast(3)
    if stem.hasSuffix("_fwd") {
      stem = stem.dropLast("_fwd".count)
      guard let rank = stem.trimSuffix("_rank"), ["atom", "ref"].contains(stem) else { return nil }
      self.init(rank: rank, layer: nil, stage: "", call: nil, holdsLastCall: true, tensors: .stages)
      return
    }
    let call = stem.trimSuffix("_call")
    guard let rank = stem.trimSuffix("_rank") else { return nil }
    if let layer = stem.trimPrefix("layer") {
      guard stem.isEmpty || stem.first == "_" else { return nil }
      let stage = stem.isEmpty ? "Block" : String(stem.dropFirst())
      guard stage.isIdentifier else { return nil }
      self.init(rank: rank, layer: layer, stage: stage, call: call)
      return
    }
    // {side}_layer…: the side has no underscore.
    guard call == nil, let underscore = stem.firstIndex(of: "_"), stem[..<underscore].isIdentifier else { return nil }
    stem = stem[stem.index(after: underscore)...]
    guard let layer = stem.trimPrefix("layer"), stem.first == "_" else { return nil }
    // The first double underscore after at least one character of the class.
    let characters = Array(stem.dropFirst())
    guard
      let split = characters.indices.dropFirst().first(where: {
        $0 + 2 < characters.count && characters[$0] == "_" && characters[$0 + 1] == "_"
      })
    else { return nil }
    let owner = String(characters[..<split])
    let stage = String(characters[(split + 2)...])
    guard owner.isIdentifier, stage.isIdentifier else { return nil }
    let isBuiltIn = ["hidden_out", "out", "hidden_in"].contains(stage)
    self.init(
      rank: rank, layer: layer, stage: isBuiltIn ? owner : "\(owner).\(stage)", call: nil, holdsLastCall: true,
      hiddenName: stage == "hidden_in" ? "input" : "hidden")
  }

  /// A weight dump: `weight_rank{R}_layer{L}.pt`, or with `atom` or `ref` in the place of `weight`.
  init?(weights name: String) {
    guard name.hasSuffix(".pt") else { return nil }
    var stem = name.dropLast(3)
    guard let layer = stem.trimSuffix("_layer"), let rank = stem.trimSuffix("_rank"),
      ["weight", "atom", "ref"].contains(stem)
    else { return nil }
    self.init(rank: rank, layer: layer, stage: "weights", call: nil)
  }
}

extension Substring {
  /// Cuts off `marker` and the decimal digits behind it at the end, and gives the number.
  fileprivate mutating func trimSuffix(_ marker: String) -> Int? {
    let digits = reversed().prefix { $0.isASCIIDigit }.count
    guard digits > 0, let number = Int(suffix(digits)) else { return nil }
    let rest = dropLast(digits)
    guard rest.hasSuffix(marker) else { return nil }
    self = rest.dropLast(marker.count)
    return number
  }

  /// Cuts off `marker` and the decimal digits behind it at the start, and gives the number.
  fileprivate mutating func trimPrefix(_ marker: String) -> Int? {
    guard hasPrefix(marker) else { return nil }
    let rest = dropFirst(marker.count)
    let digits = rest.prefix { $0.isASCIIDigit }
    guard let number = Int(digits) else { return nil }
    self = rest.dropFirst(digits.count)
    return number
  }
}

extension StringProtocol {
  fileprivate var isIdentifier: Bool {
    !isEmpty
      && utf8.allSatisfy { byte in
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
          UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
          true
        default: false
        }
      }
  }
}

extension Character {
  fileprivate var isASCIIDigit: Bool { "0" <= self && self <= "9" }
}
