# Three brokers in one availability zone of a VPC of their own, without TLS and
# without a way in from outside. The machines are apart; the zone is not. The
# subnet has no route to the internet: S3 is reached through its gateway, and
# the binary is in a bucket.
module "varve" {
  source = "../../modules/aws"

  name            = var.name
  vpc_id          = aws_vpc.this.id
  placement_group = aws_placement_group.apart.name

  brokers = { for i in range(3) : tostring(i + 1) => {
    availability_zone = var.availability_zone
    subnet_id         = aws_subnet.brokers.id
    private_ip        = cidrhost(aws_subnet.brokers.cidr_block, 11 + i)
    rack              = "rack-${i + 1}" # one zone for all: without this all brokers are on one rack, which is the same
  } }

  ami_id = var.ami_id
  binary = var.binary
  bucket = { name = var.bucket_name }

  s3_endpoint_route_table_ids = [aws_route_table.brokers.id]

  clients    = { cidr_blocks = [aws_vpc.this.cidr_block] }
  monitoring = { cidr_blocks = [aws_vpc.this.cidr_block] }

  deletion_protection = var.deletion_protection
}

# No two of its instances are on the same hardware.
resource "aws_placement_group" "apart" {
  name     = var.name
  strategy = "spread"
}

resource "aws_vpc" "this" {
  # checkov:skip=CKV2_AWS_11:Flow logs are the account's own decision.
  # checkov:skip=CKV2_AWS_12:Nothing uses the default security group.
  cidr_block           = "10.42.0.0/16"
  enable_dns_hostnames = true
  tags                 = { Name = var.name }
}

resource "aws_subnet" "brokers" {
  vpc_id            = aws_vpc.this.id
  availability_zone = var.availability_zone
  cidr_block        = "10.42.1.0/24"
  tags              = { Name = "${var.name}-brokers" }
}

resource "aws_route_table" "brokers" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = "${var.name}-brokers" }
}

resource "aws_route_table_association" "brokers" {
  subnet_id      = aws_subnet.brokers.id
  route_table_id = aws_route_table.brokers.id
}
