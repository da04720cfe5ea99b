/// What one `{Class}_debug_tree_FULL_TENSORS.json` of transformers' model debugger says of the modules' values.
///
/// A node is `{module_path, inputs: {args, kwargs}, outputs, children}`; a tensor is `{shape, dtype, value}` with the
/// value's file (`./X.safetensors`, key `data`) or, by default, its printed text, and statistics as text.
struct HuggingFaceTree {
  struct Leaf {
    var layer: Int?
    var stage: String
    var tensor: String
    var dtype: String
    var shape: [Int]
    /// Name of the file with the elements, in the tree's folder; nil where only text was written.
    var file: String?
    /// Name of its module, with which the file's name begins.
    var module: String
    var statistics: [String: Double] = [:]
  }

  struct Plain {
    var layer: Int?
    var stage: String
    var name: String
    var value: Scalar
  }

  static let suffix = "_debug_tree_FULL_TENSORS.json"
  static let summarySuffix = "_debug_tree_SUMMARY.json"

  private(set) var leaves: [Leaf] = []
  private(set) var plain: [Plain] = []
  private(set) var problems: [String] = []

  /// What follows a module's path in the names of its files → the tensor: `_inputs_kwargs_x` → `input_fields.x`.
  var tails: [String: String] {
    leaves.reduce(into: [:]) { tails, leaf in
      guard let file = leaf.file, file.hasPrefix(leaf.module) else { return }
      tails[String(file.dropFirst(leaf.module.count).dropLast(Self.fileSuffix.count))] = leaf.tensor
    }
  }

  /// Module and tensor by the name of a file that no tree names; nil where it is none of the debugger's.
  ///
  /// - Parameter tails: of the trees in its folder.
  static func place(ofFile name: String, tails: [String: String]) -> (module: Module, tensor: String)? {
    let stem = String(name.dropLast(fileSuffix.count))
    if let tail = tails.keys.filter(stem.hasSuffix).max(by: { $0.count < $1.count }), let tensor = tails[tail] {
      return (Module(String(stem.dropLast(tail.count))), tensor)
    }
    for (mark, start) in [("_inputs_args_", "input_fields."), ("_inputs_kwargs_", "input_fields.")] {
      guard let range = stem.firstRange(of: mark) else { continue }
      return (Module(String(stem[..<range.lowerBound])), start + stem[range.upperBound...])
    }
    guard let range = stem.ranges(of: "_outputs").last else { return nil }
    let rest = stem[range.upperBound...]
    guard rest.isEmpty || rest.first == "_" else { return nil }
    return (Module(String(stem[..<range.lowerBound])), rest.isEmpty ? "output" : "output." + rest.dropFirst())
  }

  static let fileSuffix = ".safetensors"

  /// Printed tensors make these files large.
  private static let byteLimit = 512 << 20

  /// - Throws: where the file cannot be opened, is too large, or is no such tree.
  init(path: String) throws(DumpError) {
    let file = try FileHandle(path: path)
    guard file.size <= Self.byteLimit else {
      throw DumpError(
        code: .limit, file: path,
        message: "\(file.size) bytes of JSON are more than the \(Self.byteLimit) that are read; dump with "
          + "use_repr=False")
    }
    var reader = JSONReader(try file.bytes(at: 0, count: file.size), file: path)
    try node(&reader)
    try reader.end()
  }

  /// Where the values of one module stand.
  struct Module {
    let path: String
    let layer: Int?
    private let stage: String
    private var isRoot: Bool { !path.contains(".") }

    /// - Parameter path: `LlamaForCausalLM.model.layers.0.mlp`; of the whole model the class alone.
    init(_ path: String) {
      self.path = path
      let place = ModulePath(ModulePath.components(path).dropFirst())
      (layer, stage) = (place.layer, place.stage)
    }

    /// What the whole model is given and gives has stages of its own, as in SGLang's dumps.
    func stage(of tensor: String) -> String {
      isRoot ? (tensor.hasPrefix("input_fields") ? "inputs" : "outputs") : stage
    }
  }

  private mutating func node(_ reader: inout JSONReader) throws(DumpError) {
    var module: Module?
    try reader.object { (reader, key) throws(DumpError) in
      switch key {
      case "module_path": module = Module(try reader.string())
      case "inputs", "outputs":
        guard let module else { throw reader.malformed("module_path should stand before \(key)") }
        guard key == "inputs" else { return try value(&reader, module, ["output"]) }
        guard reader.peek() == UInt8(ascii: "{") else { return try reader.skip() }
        try reader.object { (reader, kind) throws(DumpError) in
          // args and kwargs: both are arguments.
          _ = kind
          try value(&reader, module, ["input_fields"])
        }
      case "children":
        try reader.array { (reader) throws(DumpError) in try node(&reader) }
      default: try reader.skip()
      }
    }
    if module == nil { throw reader.malformed("a node has no module_path: this is no debug tree of transformers") }
  }

  /// A tensor, a container of values, or the text of something else.
  private mutating func value(_ reader: inout JSONReader, _ module: Module, _ path: [String]) throws(DumpError) {
    switch reader.peek() {
    case UInt8(ascii: "{"):
      var texts: [String: String] = [:]
      var hasValue = false
      try reader.object { (reader, key) throws(DumpError) in
        if Self.described.contains(key), reader.peek() == UInt8(ascii: "\"") {
          texts[key] = try reader.string()
          if key == "value" { hasValue = true }
        } else if key == "value", texts["dtype"] != nil {
          hasValue = true
          try reader.skip()
        } else {
          try value(&reader, module, path + [key])
        }
      }
      if let shape = texts["shape"], let dtype = texts["dtype"], hasValue {
        add(module, path, shape: shape, dtype: dtype, texts)
      } else {
        for (key, text) in texts.sorted(by: { $0.key < $1.key }) { add(module, path + [key], .string(text)) }
      }
    case UInt8(ascii: "["):
      var index = 0
      try reader.array { (reader) throws(DumpError) in
        try value(&reader, module, path + [String(index)])
        index += 1
      }
    default:
      let scalar = try reader.scalar()
      if scalar != .none { add(module, path, scalar) }
    }
  }

  private static let described: Set<String> = ["shape", "dtype", "value", "mean", "std", "min", "max"]

  private mutating func add(_ module: Module, _ path: [String], _ value: Scalar) {
    plain.append(
      Plain(
        layer: module.layer, stage: module.stage(of: path[0]), name: path.joined(separator: "."), value: value))
  }

  private mutating func add(
    _ module: Module, _ path: [String], shape: String, dtype: String, _ texts: [String: String]
  ) {
    let stage = module.stage(of: path[0])
    let name = path.joined(separator: ".")
    guard let dimensions = Self.shape(shape) else {
      problems.append("\(stage) \(name): the shape \(shape.clipped) is none")
      return
    }
    var leaf = Leaf(
      layer: module.layer, stage: stage, tensor: name, dtype: dtype, shape: dimensions, module: module.path)
    if let value = texts["value"] {
      guard value.hasPrefix("./"), !value.dropFirst(2).contains("/"), value.hasSuffix(Self.fileSuffix) else {
        problems.append("\(stage) \(name): its value \(value.clipped) is no file beside the tree")
        return
      }
      leaf.file = String(value.dropFirst(2))
    }
    for key in ["mean", "min", "max"] { leaf.statistics[key] = texts[key].flatMap(Self.number) }
    leaves.append(leaf)
  }

  /// `torch.Size([1, 5, 16])`.
  private static func shape(_ text: String) -> [Int]? {
    guard text.hasPrefix("torch.Size(["), text.hasSuffix("])") else { return nil }
    let inside = text.dropFirst("torch.Size([".count).dropLast(2)
    if inside.isEmpty { return [] }
    let parts = inside.split(separator: ",").map { Int($0.drop { $0 == " " }) }
    let sizes = parts.compactMap { $0 }
    return sizes.count == parts.count && sizes.allSatisfy { $0 >= 0 } && sizes.count <= 64 ? sizes : nil
  }

  /// `tensor(1.2345e-03, dtype=torch.bfloat16)`.
  private static func number(_ text: String) -> Double? {
    guard let open = text.firstIndex(of: "(") else { return nil }
    return Double(text[text.index(after: open)...].prefix { $0 != "," && $0 != ")" })
  }
}
