import Dumps
import Foundation
import Playbooks

/// Both ends of a model held against its checkpoint: the embedding's rows, which are looked up exactly, and lm_head's
/// product, made again in double on sampled rows (seed 003, phase 2).
struct EndsOfModel {
  private let captures: [Capture]
  private let unreadable: [Unreadable]
  private let weights: [Tensor]
  private let place: String

  static let embeddingNames = [
    "model.embed_tokens.weight", "model.language_model.embed_tokens.weight", "language_model.model.embed_tokens.weight",
    "transformer.wte.weight", "embed_tokens.weight", "embed.weight",
  ]
  static let headNames = ["lm_head.weight", "model.lm_head.weight", "language_model.lm_head.weight", "head.weight"]

  /// - Throws: `DumpError` where a side cannot be read at all.
  init(dumps: String, layout: DumpLayout, weights: String) throws(DumpError) {
    let set = try DumpSetLoader.load(directory: dumps, layout: layout)
    captures = set.captures
    unreadable = set.unreadable
    place = weights
    var isDirectory: ObjCBool = false
    if FileManager.default.fileExists(atPath: weights, isDirectory: &isDirectory), isDirectory.boolValue {
      let folder = try DumpFolder(weights)
      var tensors: [Tensor] = []
      for file in folder.files {
        tensors += try DumpFileReader.read(path: "\(weights)/\(file)", verifyChecksums: false).tensors
      }
      self.weights = tensors
    } else {
      self.weights = try DumpFileReader.read(path: weights, verifyChecksums: false).tensors
    }
  }

  // MARK: Embedding

  func embedding() -> TriageEvidence.Part {
    guard let weight = tensor(Self.embeddingNames) else { return missing(Self.embeddingNames) }
    guard let (ids, hidden) = ends(["embed"], input: { !$0.dtype.isFloatingPoint && !$0.dtype.isComplex }) else {
      return missingStage("the embedding, with its token ids as `input`")
    }
    do {
      let columns = weight.shape.last ?? 0
      let ids = try values(ids, 0..<min(ids.elementCount, 4_096)).map { Int($0) }
      guard weight.shape.count == 2, hidden.shape.last == columns, hidden.elementCount >= ids.count * columns else {
        return .init(.unknown, "The embedding's output \(hidden.shape) does not fit \(weight.name) \(weight.shape).")
      }
      var wrong: [Int] = []
      var (dot, square, other) = (0.0, 0.0, 0.0)
      for (row, id) in ids.enumerated() {
        guard (0..<weight.shape[0]).contains(id) else {
          return .init(.wrong, "Token id \(id) at row \(row) is outside the vocabulary of \(weight.shape[0]).")
        }
        let found = try values(hidden, row * columns..<(row + 1) * columns)
        if let column = found.firstIndex(where: { !$0.isFinite }) {
          return .init(.nonFinite, "row \(row) (token \(id)), column \(column).")
        }
        let expected = try values(weight, id * columns..<(id + 1) * columns)
        // A change of type rounds; the same type must give the same value.
        let slack = hidden.dtype == weight.dtype ? 0 : hidden.dtype.epsilon
        if !zip(found, expected).allSatisfy({ abs($0 - $1) <= slack * abs($1) }) { wrong.append(row) }
        for (a, b) in zip(found, expected) { (dot, square, other) = (dot + a * b, square + a * a, other + b * b) }
      }
      guard let first = wrong.first else {
        return .init(.right, "All \(ids.count) rows are those of \(weight.name).")
      }
      let cos = square > 0 && other > 0 ? dot / (square * other).squareRoot() : 0
      let factor = other > 0 ? dot / other : 0
      if cos > 0.999_99, abs(factor - 1) > 0.01 {
        return .init(
          .unknown,
          "The rows are those of \(weight.name) times \(String(format: "%.4g", factor)): right for a model that "
            + "scales its embedding, and a bug in another.")
      }
      return .init(
        .wrong,
        "\(wrong.count) of \(ids.count) rows are not those of \(weight.name), the first at row \(first) (token "
          + "\(ids[first])); cos \(String(format: "%.6f", cos)).")
    } catch {
      return .init(.unknown, "\(error)")
    }
  }

  // MARK: lm_head

  func head() -> TriageEvidence.Part {
    // Where the checkpoint has no head, it is tied to the embedding.
    guard let weight = tensor(Self.headNames + Self.embeddingNames) else { return missing(Self.headNames) }
    guard let (input, logits) = ends(["lmhead", "lm_head", "logits"], input: \.dtype.isFloatingPoint) else {
      return missingStage("lm_head, with its `input`")
    }
    do {
      guard weight.shape.count == 2, let width = input.shape.last, width == weight.shape[1], width > 0,
        let vocabulary = logits.shape.last, vocabulary > 0,
        input.elementCount / width == logits.elementCount / vocabulary
      else {
        return .init(
          .unknown,
          "lm_head's input \(input.shape) and output \(logits.shape) do not fit \(weight.name) \(weight.shape).")
      }
      // Rank 0 has the first rows of the vocabulary.
      let count = min(vocabulary, weight.shape[0])
      let rows = input.elementCount / width
      var (dot, square, other) = (0.0, 0.0, 0.0)
      var compared = 0
      for row in Set([0, rows / 2, rows - 1]).sorted() {
        let hidden = try values(input, row * width..<(row + 1) * width)
        let given = try values(logits, row * vocabulary..<(row + 1) * vocabulary)
        for (what, list) in [("input", hidden), ("output", given)] {
          if let column = list.firstIndex(where: { $0.isNaN || what == "input" && !$0.isFinite }) {
            return .init(.nonFinite, "\(what) row \(row), column \(column).")
          }
        }
        // Evenly over the vocabulary, and where the logit is largest: that one becomes the token.
        var tokens = Set(stride(from: 0, to: count, by: max(1, count / 256)))
        if let best = given[..<count].indices.max(by: { given[$0] < given[$1] }) { tokens.insert(best) }
        for token in tokens where given[token].isFinite {
          let column = try values(weight, token * width..<(token + 1) * width)
          let product = zip(hidden, column).reduce(0) { $0 + $1.0 * $1.1 }
          (dot, square, other) = (
            dot + given[token] * product, square + given[token] * given[token], other + product * product
          )
          compared += 1
        }
      }
      let relative = other > 0 ? max(0, square - 2 * dot + other).squareRoot() / other.squareRoot() : square
      let cos = square > 0 && other > 0 ? dot / (square * other).squareRoot() : 0
      let figures = "\(compared) logits, cos \(String(format: "%.6f", cos)), rel \(String(format: "%.2g", relative))"
      // Rounding of each logit and of its input; a low-precision product would be another path.
      let limit = 4 * max(logits.dtype.epsilon, input.dtype.epsilon, weight.dtype.epsilon)
      return relative <= limit
        ? .init(.right, "It is the product with \(weight.name): \(figures).")
        : .init(
          .wrong, "It is not the product with \(weight.name): \(figures), \(String(format: "%.2g", limit)) is honest.")
    } catch {
      return .init(.unknown, "\(error)")
    }
  }

  // MARK: Reading

  private func tensor(_ names: [String]) -> Tensor? {
    for name in names {
      if let tensor = weights.first(where: { $0.name == name }) { return tensor }
    }
    return nil
  }

  /// Input and output of the stage on the lowest rank, in the latest of its calls that has both.
  private func ends(_ words: [String], input: (Tensor) -> Bool) -> (input: Tensor, output: Tensor)? {
    let own = captures.filter { capture in
      let stage = capture.stage.lowercased()
      return words.contains { stage.contains($0) }
    }
    let files = Dictionary(grouping: own, by: \.file).values.sorted { a, b in
      (a[0].rank, -(a[0].call ?? 0), a[0].file) < (b[0].rank, -(b[0].call ?? 0), b[0].file)
    }
    for file in files {
      func named(_ names: [String], _ isFit: (Tensor) -> Bool) -> Tensor? {
        for name in names {
          if let tensor = file.first(where: { $0.tensor.name == name && isFit($0.tensor) })?.tensor { return tensor }
        }
        return nil
      }
      if let input = named(["input", "input_ids", "inputs.0", "hidden_states"], input),
        let output = named(["hidden", "output", "logits", "outputs.0"], \.dtype.isFloatingPoint)
      {
        return (input, output)
      }
    }
    return nil
  }

  private func values(_ tensor: Tensor, _ range: Range<Int>) throws(DumpError) -> [Double] {
    var values: [Double] = []
    try TensorReader(tensor).readDoubles(range, into: &values)
    return values
  }

  private func missing(_ names: [String]) -> TriageEvidence.Part {
    .init(.unknown, "\(place) has no \(names[0]), nor another name of it.")
  }

  private func missingStage(_ what: String) -> TriageEvidence.Part {
    let why = unreadable.first.map { " \($0.file): \($0.why)" } ?? ""
    return .init(.unknown, "The dumps do not hold \(what).\(why)")
  }
}
