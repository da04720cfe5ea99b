/// Where a tensor belongs by its dotted name, in layouts whose files do not say it.
///
/// - The layer is the number after the first component `layers`, `layer`, `blocks`, `block` or `h`
///   (`model.layers.3.mlp.out`), or in a component such as `layer3` (`layer3.attn_out`, `layer03_attn`). These
///   components are then no part of the stage: `model.mlp`.
/// - The stage is the rest without its last component, which names the tensor: `model.layers.3.mlp.out` is the tensor
///   `out` of layer 3, stage `model.mlp`. One component of a layer is a stage whose tensor is `value`; one component
///   without a layer has no stage.
struct TensorPlace: Equatable {
  var layer: Int?
  /// Nil where the name says none.
  var stage: String?
  var tensor: String

  /// The tensor of a stage that has no name of its own.
  static let onlyTensor = "value"

  init(_ name: String) {
    var parts = name.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
    layer = Self.takeLayer(&parts)
    switch parts.count {
    case 0: (stage, tensor) = ("layer", Self.onlyTensor)
    case 1 where layer != nil: (stage, tensor) = (parts[0], Self.onlyTensor)
    case 1: (stage, tensor) = (nil, parts[0])
    default:
      tensor = parts.removeLast()
      stage = parts.joined(separator: ".")
    }
  }

  /// The same, for a name that is wholly a stage: that of a file with one array.
  init(stage name: String) {
    var parts = name.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
    layer = Self.takeLayer(&parts)
    stage = parts.isEmpty ? "layer" : parts.joined(separator: ".")
    tensor = Self.onlyTensor
  }

  static func takeLayer(_ parts: inout [String]) -> Int? {
    for (i, part) in parts.enumerated() {
      if ["layers", "layer", "blocks", "block", "h"].contains(part), i + 1 < parts.count,
        parts[i + 1].utf8.allSatisfy(\.isDigit), let layer = Int(parts[i + 1])
      {
        parts.removeSubrange(i...(i + 1))
        return layer
      }
      guard part.hasPrefix("layer") else { continue }
      let rest = part.dropFirst("layer".count).drop { $0 == "_" }
      let digits = rest.prefix { $0.isASCII && $0.isNumber }
      guard let layer = Int(digits) else { continue }
      let tail = rest.dropFirst(digits.count)
      if tail.isEmpty {
        parts.remove(at: i)
      } else if tail.first == "_", tail.count > 1 {
        parts[i] = String(tail.dropFirst())
      } else {
        continue
      }
      return layer
    }
    return nil
  }
}

/// `rank<k>`, `rank=<k>` or `rank_<k>` in a path.
struct RankMark {
  /// 0 where no component has a mark.
  var rank: Int
  /// The path without its marks, and without the folders that were nothing else; `_`, `-` and `.` before a mark go
  /// with it.
  var rest: String

  /// The innermost mark counts: that of the file's name, else that of its folder.
  ///
  /// - Parameter path: relative, without the file's extension.
  init(_ path: String) {
    var found: Int?
    var parts: [String] = []
    for part in path.split(separator: "/").map(String.init) {
      let (rank, rest) = Self.take(part)
      found = rank ?? found
      if !rest.isEmpty { parts.append(rest) }
    }
    rank = found ?? 0
    rest = parts.joined(separator: "/")
  }

  /// The last mark of a component that no letter or digit touches.
  private static func take(_ part: String) -> (rank: Int?, rest: String) {
    let bytes = Array(part.utf8)
    func isWord(_ byte: UInt8) -> Bool {
      byte.isDigit || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20) || byte >= 0x80
    }
    for start in bytes.indices.reversed() where bytes[start...].starts(with: "rank".utf8) {
      guard start == 0 || !isWord(bytes[start - 1]) else { continue }
      var digits = start + 4
      if digits < bytes.count, [UInt8(ascii: "="), UInt8(ascii: "_")].contains(bytes[digits]) { digits += 1 }
      let end = bytes[digits...].firstIndex { !$0.isDigit } ?? bytes.count
      guard end > digits, end == bytes.count || !isWord(bytes[end]) else { continue }
      // A number that is none of a rank is not rank 0 either.
      let rank = Int(String(decoding: bytes[digits..<end], as: UTF8.self)) ?? .max
      var head = bytes[..<start]
      var tail = bytes[end...]
      let separators = "_-.".utf8
      if let last = head.last, separators.contains(last) {
        head = head.dropLast()
      } else if let first = tail.first, separators.contains(first) {
        tail = tail.dropFirst()
      }
      return (rank, String(decoding: head + tail, as: UTF8.self))
    }
    return (nil, part)
  }
}
