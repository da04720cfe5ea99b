/// One pass of SGLang's older dumper, that of the forward hooks: `TP0_PP0_Rank0_pid77/Pass00003.pt`, a dictionary of
/// module → tensor or list.
///
/// The call is the number of the pass. A module's tensor is its `output` (`output[1]` of a list); what a batch is given
/// (`….forward_batch_info.input_ids`) goes to the stage `inputs`, as in the later dumper, and what one pipeline stage
/// hands to the next is `pp_proxy_tensors.{name}`.
struct SGLangHookFile: Hashable {
  var rank: Int
  var pass: Int

  /// Nil where the path is none of such a file.
  init?(path: String) {
    let parts = path.split(separator: "/")
    guard parts.count >= 2,
      let folder = parts[parts.count - 2].wholeMatch(of: /TP\d+_PP\d+_Rank(\d{1,9})_pid\d+/),
      let file = parts[parts.count - 1].wholeMatch(of: /Pass(\d{5,9})\.pt/),
      let rank = Int(folder.1), let pass = Int(file.1)
    else { return nil }
    (self.rank, self.pass) = (rank, pass)
  }

  /// - Parameter name: of a value as the file has it: `model.layers.3.mlp`, `model.layers.3.mlp[1]`.
  static func place(_ name: String) -> (layer: Int?, stage: String, tensor: String) {
    let bracket = name.hasSuffix("]") ? name.lastIndex(of: "[") : nil
    let index = bracket.map { name[$0...] } ?? ""
    let path = bracket.map { name[..<$0] } ?? name[...]
    if let mark = path.firstRange(of: ".forward_batch_info.") {
      let module = ModulePath(ModulePath.components(path[..<mark.lowerBound]))
      let field = "input_fields.\(path[mark.upperBound...])\(index)"
      return module.layer == nil ? (nil, "inputs", field) : (module.layer, module.stage, field)
    }
    if let mark = path.firstRange(of: ".pp_proxy_tensors.") {
      let module = ModulePath(ModulePath.components(path[..<mark.lowerBound]))
      return (module.layer, module.stage, "pp_proxy_tensors.\(path[mark.upperBound...])\(index)")
    }
    let module = ModulePath(ModulePath.components(path))
    return (module.layer, module.stage, "output\(index)")
  }
}

extension CaptureLedger {
  mutating func add(_ dump: DumpFile, of name: SGLangHookFile, file: String, modified: Int64) {
    for value in dump.skipped { note(file, "\(value.name): \(value.why)", values: [value.name]) }
    add(
      dump.tensors.map { tensor in
        let place = SGLangHookFile.place(tensor.name)
        var tensor = tensor
        let metadata = dump.metadata[tensor.name]
        tensor.name = place.tensor
        return Capture(
          rank: name.rank, layer: place.layer, stage: place.stage, call: name.pass, tensor: tensor, file: file,
          modified: modified, metadata: metadata)
      })
    add(
      dump.scalars.map { scalar in
        let place = SGLangHookFile.place(scalar.name)
        return PlainCapture(
          rank: name.rank, layer: place.layer, stage: place.stage, call: name.pass, name: place.tensor,
          value: scalar.value, file: file)
      })
    if dump.tensors.isEmpty, dump.skipped.isEmpty { note(file, "holds no tensor") }
  }
}
