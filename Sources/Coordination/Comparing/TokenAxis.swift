import Alignment
import Dumps

extension Capture {
  /// The dimension that counts tokens: the one that the producer's dims text calls `t` or `s`, else the first. Several
  /// sequences before it (`b s h`) stay what is counted.
  var tokenAxis: Int {
    guard let dims = tokenDims, let axis = Self.tokenAxis(dims) else { return 0 }
    let isOfSeveral = dims.dimensions[..<axis].indices.contains {
      dims.dimensions[$0].names == ["b"] && tensor.shape[$0] != 1
    }
    return isOfSeveral ? 0 : axis
  }

  /// Indices of that dimension; 1 of a single number.
  var tokenCount: Int { tensor.shape.isEmpty ? 1 : tensor.shape[tokenAxis] }

  /// Where the tokens stand behind a dimension that is neither the batch nor of size 1: the same capture with the tokens
  /// first, and with dims text that says so.
  var tokensFirst: Capture {
    guard tensor.pieces.isEmpty, let dims = tokenDims, let axis = Self.tokenAxis(dims),
      dims.dimensions[..<axis].contains(where: { !$0.isSqueezed && $0.names != ["b"] })
    else { return self }
    var result = self
    result.tensor.shape.insert(result.tensor.shape.remove(at: axis), at: 0)
    result.tensor.strides.insert(result.tensor.strides.remove(at: axis), at: 0)
    // One word a dimension; what follows # is of the whole tensor.
    let halves = dims.text.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false)
    var words = halves[0].split(whereSeparator: \.isWhitespace)
    words.insert(words.remove(at: axis), at: 0)
    result.metadata?.dims = ([words.joined(separator: " ")] + halves.dropFirst().map(String.init)).joined(
      separator: " #")
    return result
  }

  /// The dims text, where it fits the tensor.
  private var tokenDims: DimsText? {
    guard let text = metadata?.dims, let dims = try? DimsText(text), dims.dimensions.count == tensor.shape.count else {
      return nil
    }
    return dims
  }

  private static func tokenAxis(_ dims: DimsText) -> Int? {
    dims.dimensions.firstIndex { $0.names.contains("t") || $0.names.contains("s") }
  }
}

extension CaptureMatching.Pair {
  /// The pair with its tokens first on both sides, where both say which dimension that is.
  var tokensFirst: CaptureMatching.Pair {
    let captures = Array(reference.values) + Array(target.values)
    guard captures.allSatisfy({ $0.metadata?.dims != nil }) else { return self }
    var pair = self
    pair.reference = reference.mapValues(\.tokensFirst)
    pair.target = target.mapValues(\.tokensFirst)
    return pair
  }
}
