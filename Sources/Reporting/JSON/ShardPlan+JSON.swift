import Alignment

extension ShardPlan {
  /// The keys of its own coding; what only some layouts have stands only there.
  var jsonValue: JSONValue {
    var members: [(String, JSONValue)] = [
      ("kind", .string(kind.rawValue)), ("axis", .optional(axis)), ("ranks", .int(ranks)),
      ("residual", .optional(residual)), ("margin", .optional(margin)), ("why", .string(why)),
    ]
    if let source { members.append(("source", .string(source.rawValue))) }
    if let order { members.append(("order", .string(order.rawValue))) }
    if let rankOrder {
      members.append(
        ("rank_order", .object(["sources": .ints(rankOrder.sources), "residual": .double(rankOrder.residual)])))
    }
    if let alternative {
      members.append(
        (
          "alternative",
          .object([
            "kind": .string(alternative.kind.rawValue), "axis": .optional(alternative.axis),
            "order": .optional(alternative.order?.rawValue), "detail": .optional(alternative.detail),
            "residual": .double(alternative.residual),
          ])
        ))
    }
    if let padding { members.append(("padding", padding.jsonValue)) }
    if let referencePadding { members.append(("reference_padding", referencePadding.jsonValue)) }
    return .members(members)
  }
}

extension ShardPadding {
  fileprivate var jsonValue: JSONValue {
    .object([
      "axis": .int(axis), "count": .int(count), "is_empty": .bool(isEmpty), "largest": .double(largest),
      "rows_won": .int(rowsWon), "rows": .int(rows),
    ])
  }
}

/// `shard` of a row as it stands in a file; a figure that was not finite is `null`.
struct ShardPlanRecord: Decodable {
  struct Order: Decodable {
    var sources: [Int]
    var residual: Double?
  }

  struct Alternative: Decodable {
    var kind: ShardKind
    var axis: Int?
    var order: ShardLayout.Order?
    var detail: String?
    var residual: Double?
  }

  struct Padding: Decodable {
    var axis: Int
    var count: Int
    var isEmpty: Bool
    var largest: Double?
    var rowsWon: Int
    var rows: Int

    typealias CodingKeys = ShardPadding.CodingKeys

    var padding: ShardPadding {
      // Empty padding has no largest value.
      ShardPadding(
        axis: axis, count: count, isEmpty: isEmpty, largest: largest ?? (isEmpty ? -.infinity : .nan),
        rowsWon: rowsWon, rows: rows)
    }
  }

  var kind: ShardKind
  var axis: Int?
  var ranks: Int
  var residual: Double?
  var margin: Double?
  var why: String?
  var source: ShardPlan.Source?
  var order: ShardLayout.Order?
  var rankOrder: Order?
  var alternative: Alternative?
  var padding: Padding?
  var referencePadding: Padding?

  typealias CodingKeys = ShardPlan.CodingKeys

  var plan: ShardPlan {
    ShardPlan(
      kind: kind, axis: axis, ranks: ranks, residual: residual, margin: margin, why: why ?? "", source: source,
      order: order, rankOrder: rankOrder.map { RankOrder(sources: $0.sources, residual: $0.residual ?? .nan) },
      alternative: alternative.map {
        ShardAlternative(
          kind: $0.kind, axis: $0.axis, order: $0.order, detail: $0.detail, residual: $0.residual ?? .nan)
      },
      padding: padding?.padding, referencePadding: referencePadding?.padding)
  }
}
