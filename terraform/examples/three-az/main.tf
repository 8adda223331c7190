# Three brokers in three availability zones, with TLS everywhere, names in a
# private zone and a load balancer for the first connection. The subnets have no
# route to the internet: S3 is reached through its gateway, Secrets Manager
# through an interface, and the binary is in a bucket.
module "varve" {
  source = "../../modules/aws"

  name   = var.name
  vpc_id = aws_vpc.this.id

  brokers = { for i, zone in var.availability_zones : tostring(i + 1) => {
    availability_zone = zone
    subnet_id         = aws_subnet.brokers[zone].id
    private_ip        = cidrhost(aws_subnet.brokers[zone].cidr_block, 11)
  } }

  ami_id = var.ami_id
  binary = var.binary
  bucket = { name = var.bucket_name }

  tls = {
    keystore_arns  = var.keystore_arns
    truststore_arn = var.truststore_arn
    client_auth    = "required"
  }

  dns       = { zone_id = aws_route53_zone.this.zone_id, domain = var.domain }
  bootstrap = "nlb"

  s3_endpoint_route_table_ids = [aws_route_table.brokers.id]

  clients    = { security_groups = { clients = aws_security_group.clients.id } }
  monitoring = { security_groups = { clients = aws_security_group.clients.id } }

  settings = {
    # Consumers read from a replica in their own zone, which costs no traffic between zones.
    "replica.selector.class" = "org.apache.kafka.common.replica.RackAwareReplicaSelector"
  }

  deletion_protection = var.deletion_protection

  depends_on = [aws_vpc_endpoint.secrets] # keys are fetched at the first boot
}

resource "aws_security_group" "clients" {
  # checkov:skip=CKV2_AWS_5:It is for the machines of clients, which are not here.
  name        = "${var.name}-clients"
  description = "Clients of Varve ${var.name}"
  vpc_id      = aws_vpc.this.id
}

resource "aws_vpc" "this" {
  # checkov:skip=CKV2_AWS_11:Flow logs are the account's own decision.
  # checkov:skip=CKV2_AWS_12:Nothing uses the default security group.
  cidr_block           = "10.42.0.0/16"
  enable_dns_hostnames = true
  tags                 = { Name = var.name }
}

resource "aws_subnet" "brokers" {
  for_each = { for i, zone in var.availability_zones : zone => i }

  vpc_id            = aws_vpc.this.id
  availability_zone = each.key
  cidr_block        = cidrsubnet(aws_vpc.this.cidr_block, 8, 1 + each.value)
  tags              = { Name = "${var.name}-${each.key}" }
}

resource "aws_route_table" "brokers" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = "${var.name}-brokers" }
}

resource "aws_route_table_association" "brokers" {
  for_each = aws_subnet.brokers

  subnet_id      = each.value.id
  route_table_id = aws_route_table.brokers.id
}

resource "aws_route53_zone" "this" {
  # checkov:skip=CKV2_AWS_38:DNSSEC is not there for private zones.
  # checkov:skip=CKV2_AWS_39:Nor are query logs of this kind.
  name = var.domain

  vpc {
    vpc_id = aws_vpc.this.id
  }
}

resource "aws_security_group" "endpoints" {
  name        = "${var.name}-endpoints"
  description = "Secrets Manager for Varve ${var.name}"
  vpc_id      = aws_vpc.this.id
}

resource "aws_vpc_security_group_ingress_rule" "endpoints" {
  security_group_id = aws_security_group.endpoints.id
  description       = "From the VPC"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = aws_vpc.this.cidr_block
}

resource "aws_vpc_endpoint" "secrets" {
  vpc_id              = aws_vpc.this.id
  service_name        = "com.amazonaws.${var.region}.secretsmanager"
  vpc_endpoint_type   = "Interface"
  private_dns_enabled = true
  subnet_ids          = [for s in aws_subnet.brokers : s.id]
  security_group_ids  = [aws_security_group.endpoints.id]
}
